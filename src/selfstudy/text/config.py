"""The settings of a run on text. Does not import torch."""

from contextlib import suppress
from typing import Annotated, Literal

from pydantic import Field, field_validator

from selfstudy.config import Auto, Count, DataConfig, EncoderConfig, Keyword, RunConfig, SameResult


class TextDataConfig(DataConfig):
    """The text to learn from, and how it becomes rows of tokens."""

    documents: Annotated[
        Literal["auto", "file", "blank-line", "line", "record"],
        Field(description="Extent of one document: a file, a paragraph, a line, or a record of a table."),
    ] = "auto"
    column: Annotated[
        str | None,
        Field(description="Column of a table that holds the text; auto looks for it."),
        SameResult(),  # the fingerprint tells whether the documents are the same
    ] = "auto"
    held_out: Annotated[
        str | float,
        Field(description="Share of the documents to keep for evaluation, or the path of other text."),
        Keyword("held_out"),
    ] = 0.05
    tokenizer: Annotated[
        str,
        Field(description="Tokenizer: bpe, wordpiece, char, byte, or the path of a tokenizer.json."),
        Keyword("tokenizer"),
    ] = "auto"
    vocab_size: Annotated[Auto | int | None, Field(description="Entries of a tokenizer that is trained.")] = "auto"
    context: Annotated[
        Auto | Annotated[int, Field(ge=8)], Field(description="Longest row, in tokens."), Keyword("context")
    ] = "auto"
    cache: Annotated[
        str,
        Field(description="Folder of tokenised text; auto is tokens in SELFSTUDY_CACHE, else in ~/.cache/selfstudy."),
        SameResult(),
    ] = "auto"

    @field_validator("held_out", mode="before")
    @classmethod
    def _from_text(cls, given: object) -> object:
        """The share for ``"0.1"``; a path stays a path."""
        with suppress(ValueError):
            return float(given) if isinstance(given, str) else given
        return given


class TextEncoderConfig(EncoderConfig):
    """The network that is trained on text."""

    name: Annotated[
        str,
        Field(description="Layout and size, such as bert-mini, or a folder that transformers can read."),
        Keyword("encoder"),
    ] = "auto"
    width: Annotated[Auto | Count | None, Field(description="Width of the layers; auto is that of the size.")] = "auto"
    depth: Annotated[Auto | Count | None, Field(description="Number of layers; auto is that of the size.")] = "auto"
    heads: Annotated[Auto | Count | None, Field(description="Attention heads; auto is that of the size.")] = "auto"
    dropout: Annotated[
        Auto | Annotated[float, Field(ge=0, lt=1)], Field(description="Dropout rate of every layer.")
    ] = "auto"
    pool: Annotated[
        Literal["mean", "cls", "last"],
        Field(description="Vector of a text: the mean of its tokens, its first token, or its last token."),
    ] = "mean"


class TextRunConfig(RunConfig):
    """All settings of a run on text."""

    data: TextDataConfig
    encoder: TextEncoderConfig = TextEncoderConfig()
