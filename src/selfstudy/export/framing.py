"""A tokenizer for exported text encoders that adds first and last tokens, and texts to compare vectors on."""

from typing import TYPE_CHECKING

import torch

from selfstudy.text.embedder import TextEmbedder

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_TEXTS = 16


def framing_tokenizer(embedder: TextEmbedder) -> "Tokenizer":
    """A copy of the tokenizer that adds the first and last tokens of a row, as our own embedder does."""
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
    """Texts of random tokens and several lengths that fit into a row; without white space around, which may be lost."""
    tokenizer, generator = embedder.tokenizer, torch.Generator().manual_seed(0)
    room = embedder.context - sum(len(part) for part in embedder.frame)
    texts = []
    for number in range(_TEXTS):
        length = 1 + number * room // (3 * _TEXTS)  # encoded again, the text may have three times as many tokens
        ids = torch.randint(embedder.encoder.vocabulary.size, (length,), generator=generator).tolist()
        texts.append(tokenizer.decode(ids).strip())
    return [text for text in texts if 0 < len(tokenizer.encode(text, add_special_tokens=False).ids) <= room]
