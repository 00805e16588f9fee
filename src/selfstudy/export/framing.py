"""What exports of text encoders share: a tokenizer that frames texts as ours does, and texts to compare vectors on."""

from typing import TYPE_CHECKING

import torch

from selfstudy.text.embedder import TextEmbedder

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_TEXTS = 16


def framing_tokenizer(embedder: TextEmbedder) -> "Tokenizer":
    """A copy of the tokenizer, made to put before and after every text what our own embedder puts there."""
    from tokenizers import Tokenizer
    from tokenizers.processors import TemplateProcessing

    copy = Tokenizer.from_str(embedder.tokenizer.to_str())
    before, after = ([(copy.id_to_token(number), number) for number in ids] for ids in embedder.frame)
    names = [[name for name, _ in part] for part in (before, after)]
    copy.post_processor = TemplateProcessing(
        single=[*names[0], "$A", *names[1]],
        pair=[*names[0], "$A", *names[1], "$B:1", *(f"{name}:1" for name in names[1])],
        special_tokens=[*before, *after],
    )
    return copy


def texts_that_fit(embedder: TextEmbedder) -> list[str]:
    """Random tokens as texts of several lengths that fit into a row, without white space around: it may be cut off."""
    tokenizer, generator = embedder.tokenizer, torch.Generator().manual_seed(0)
    room = embedder.context - sum(len(part) for part in embedder.frame)
    texts = []
    for number in range(_TEXTS):
        length = 1 + number * room // (3 * _TEXTS)  # what is decoded may take up to three times as many tokens
        ids = torch.randint(embedder.encoder.vocabulary.size, (length,), generator=generator).tolist()
        texts.append(tokenizer.decode(ids).strip())
    return [text for text in texts if 0 < len(tokenizer.encode(text, add_special_tokens=False).ids) <= room]
