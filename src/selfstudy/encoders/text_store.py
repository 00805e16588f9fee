"""The ``encoder/`` folder of a run on text: a directory that transformers opens, and our own description of it."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from selfstudy.disk.atomic import staged_folder
from selfstudy.disk.reading import file_digest
from selfstudy.encoders.base import Vocabulary
from selfstudy.encoders.description import (
    EncoderDescription,
    read_description,
    require_digest,
    require_finite,
    write_description,
)
from selfstudy.encoders.text import TextEncoder, build_text_encoder, quiet

if TYPE_CHECKING:
    from tokenizers import Tokenizer

FACTS = "selfstudy.json"
_WEIGHTS, _TOKENIZER = "model.safetensors", "tokenizer.json"


class TextEncoderDescription(EncoderDescription):
    """All that ``selfstudy.json`` may hold."""

    name: str
    head: bool
    pool: str = Field(pattern="^(mean|cls|last)$")
    context: int = Field(ge=1)
    vocabulary: Vocabulary
    tokenizer_sha256: str


def save_text_encoder(
    encoder: TextEncoder, tokenizer: "Tokenizer", folder: Path, *, context: int, extra: dict[str, Any]
) -> None:
    """Write an encoder with its tokenizer so that transformers and :func:`load_text_encoder` open it.

    Args:
        encoder: an encoder on any device.
        tokenizer: the tokenizer that makes its ids.
        folder: the folder to write into; it is made if it does not exist.
        context: the length in tokens of the longest row that it was trained on.
        extra: the values of ``method``, ``weights`` (student or teacher), ``seed``, ``name`` and ``head``.

    Raises:
        FileRefusedError: a weight is not finite.
    """
    require_finite(encoder.network.state_dict())
    with staged_folder(folder) as staged:  # a kill leaves the previous encoder
        _write(encoder, tokenizer, staged, context=context, extra=extra)


def _write(encoder: TextEncoder, tokenizer: "Tokenizer", folder: Path, *, context: int, extra: dict[str, Any]) -> None:
    """Write all files, the description of the others last."""
    network: Any = encoder.network
    with quiet():
        network.save_pretrained(folder)
    saved = _with_greedy_mask(_with_template(tokenizer, encoder), encoder.vocabulary.mask)
    (folder / _TOKENIZER).write_text(saved.to_str(pretty=True), encoding="utf-8")
    names = json.dumps(tokenizer_config(tokenizer, encoder, context), indent=2)
    (folder / "tokenizer_config.json").write_text(names + "\n", encoding="utf-8")
    facts = TextEncoderDescription(
        pool=encoder.pool,
        context=context,
        vocabulary=encoder.vocabulary,
        embed_dim=encoder.embed_dim,
        sha256=file_digest(folder / _WEIGHTS),
        tokenizer_sha256=file_digest(folder / _TOKENIZER),
        **extra,
    )
    write_description(folder / FACTS, facts)


def _with_template(tokenizer: "Tokenizer", encoder: TextEncoder) -> "Tokenizer":
    """A copy that puts each text between class token and separator, if the encoder was trained on such rows."""
    from tokenizers import Tokenizer
    from tokenizers.processors import Sequence, TemplateProcessing

    copy = Tokenizer.from_str(tokenizer.to_str())
    cls, sep = encoder.vocabulary.cls, encoder.vocabulary.sep
    if encoder.causal or cls is None or sep is None or _adds_specials(copy):
        return copy
    first, last = copy.id_to_token(cls), copy.id_to_token(sep)
    template = TemplateProcessing(
        single=f"{first} $A {last}",
        pair=f"{first} $A {last} $B:1 {last}:1",
        special_tokens=[(first, cls), (last, sep)],
    )
    before = copy.post_processor
    copy.post_processor = template if before is None else Sequence([before, template])
    return copy


def tokens_begin_with_spaces(tokenizer: "Tokenizer") -> bool:
    """True if the space before a word is part of the word's token, as in byte-level tokenizers."""
    return any(token.startswith("\N{LATIN CAPITAL LETTER G WITH DOT ABOVE}") for token in tokenizer.get_vocab())


def _with_greedy_mask(tokenizer: "Tokenizer", mask: int | None) -> "Tokenizer":
    """A copy whose mask token includes the space before it, as RoBERTa's does, if other tokens include theirs."""
    from tokenizers import Tokenizer

    if not tokens_begin_with_spaces(tokenizer):
        return tokenizer
    parts = json.loads(tokenizer.to_str())
    for token in parts["added_tokens"]:
        token["lstrip"] = token["lstrip"] or token["id"] == mask
    return Tokenizer.from_str(json.dumps(parts))


def _adds_specials(tokenizer: "Tokenizer") -> bool:
    return bool(tokenizer.num_special_tokens_to_add(False))


def tokenizer_config(tokenizer: "Tokenizer", encoder: TextEncoder, context: int) -> dict[str, Any]:
    """The content of ``tokenizer_config.json``: the names of the special tokens, as transformers 4 and 5 read them."""
    ids = encoder.vocabulary
    names = {
        "pad_token": ids.pad,
        "cls_token": None if encoder.causal else ids.cls,
        "sep_token": None if encoder.causal else ids.sep,
        "mask_token": None if encoder.causal else ids.mask,
        "bos_token": ids.eos if encoder.causal else None,
        "eos_token": ids.eos if encoder.causal else None,
    }
    special = {key: tokenizer.id_to_token(number) for key, number in names.items() if number is not None}
    unknown = tokenizer.token_to_id("[UNK]")
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": context,
        "clean_up_tokenization_spaces": False,
        "model_input_names": ["input_ids", "attention_mask"],
        **({"unk_token": "[UNK]"} if unknown is not None else {}),
        **special,
    }


def load_text_encoder(folder: Path) -> tuple[TextEncoder, "Tokenizer", dict[str, Any]]:
    """An encoder in eval mode, its tokenizer, and its description.

    Raises:
        FileRefusedError: a file is missing, damaged, from another version, or not what it should be.
    """
    from tokenizers import Tokenizer

    facts = read_description(folder / FACTS, TextEncoderDescription)
    require_digest(folder / _WEIGHTS, facts.sha256, listed_in=FACTS)
    require_digest(folder / _TOKENIZER, facts.tokenizer_sha256, listed_in=FACTS)
    encoder = build_text_encoder(
        str(folder), facts.vocabulary, head=facts.head, context=facts.context, pool=facts.pool
    ).eval()
    return encoder, Tokenizer.from_file(str(folder / _TOKENIZER)), facts.model_dump()
