"""The settings of a run on text. Does not import torch."""

from typing import Annotated, Literal

from pydantic import Field

from selfstudy.config import Auto, Count, DataConfig, EncoderConfig, RunConfig


class TextDataConfig(DataConfig):
    """The text to learn from, and how it becomes rows of tokens."""

    documents: Annotated[
        Literal["auto", "file", "blank-line", "line", "record"], Field(description="what a document is")
    ] = "auto"
    column: Annotated[str | None, Field(description="of a table: the one with the text; auto looks for it")] = "auto"
    held_out: Annotated[
        str | float, Field(description="share of the documents kept for evaluation, or the path of other text")
    ] = 0.05
    tokenizer: Annotated[str, Field(description="auto, bpe, wordpiece, char, byte, or a tokenizer.json")] = "auto"
    vocab_size: Auto | int | None = "auto"
    context: Annotated[Auto | Annotated[int, Field(ge=8)], Field(description="tokens of the longest row")] = "auto"
    cache: Annotated[
        str, Field(description="folder of the tokenised corpora; auto: selfstudy/tokens in XDG_CACHE_HOME or ~/.cache")
    ] = "auto"


class TextEncoderConfig(EncoderConfig):
    """The network that is trained on text."""

    name: Annotated[str, Field(description="layout and size, bert-mini, or a directory of transformers")] = "auto"
    width: Annotated[Auto | Count | None, Field(description="width D; auto: as the size has it")] = "auto"
    depth: Auto | Count | None = "auto"
    heads: Auto | Count | None = "auto"
    dropout: Annotated[Auto | Annotated[float, Field(ge=0, lt=1)], Field(description="of every layer")] = "auto"
    pool: Annotated[Literal["mean", "cls", "last"], Field(description="how a text's tokens become one vector")] = "mean"


class TextRunConfig(RunConfig):
    """All settings of a run on text."""

    data: TextDataConfig
    encoder: TextEncoderConfig = TextEncoderConfig()
