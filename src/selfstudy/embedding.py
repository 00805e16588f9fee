"""Embeddings of all of a source, images or documents, streamed into one Parquet file."""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from rich.console import Console

from selfstudy import config as cfg
from selfstudy.data.documents import Document, Documents, open_documents
from selfstudy.data.sources import Source
from selfstudy.embedder import Embedder
from selfstudy.errors import DataError, UsageError, first_line
from selfstudy.export.parquet import list_left_out, write_embeddings
from selfstudy.run_folder import RunFolder
from selfstudy.text_embedder import TextEmbedder

_TEXTS = 1024  # embedded at a time


def embed_images(embedder: Embedder, source: Source, out: Path, console: Console) -> int:
    """The rows written: one embedding per image that can be read.

    Raises:
        DataError: nothing could be read.
    """
    for warning in source.warnings:
        console.print(f"data     {warning}", highlight=False)
    skipped: dict[int, str] = {}

    def rows() -> Iterable[tuple[list[str], list[str], Any, list[int] | None]]:
        for chunk in embedder.of_source(source, range(len(source))):
            skipped.update(chunk.unreadable)
            if chunk.indices:
                labels = None if source.labels is None else [int(source.labels[i]) for i in chunk.indices]
                ids, paths = ([names[i] for i in chunk.indices] for names in (source.ids, source.paths))
                yield ids, paths, chunk.embeddings, labels

    metadata = {
        "encoder": embedder.description,
        "pooling": "encoder output, not normalised",
        "source": source.describe(),
    }
    written = write_embeddings(out, rows(), metadata=metadata)
    errors = list_left_out(out, [(source.ids[i], why) for i, why in skipped.items()], console=console)
    if written == 0:
        raise DataError(f"no input of {source.describe()} could be read; the reasons are in {errors}")
    return written


def documents_as_for(run: str | Path, data: Any, console: Console) -> Documents:
    """The documents of data, by the rule and from the column of the run where they fit."""
    file = RunFolder(run).config
    if not file.is_file():  # an encoder/ folder by itself
        return open_documents(data)
    config = cfg.validate(cfg.TextDataConfig, cfg.read_yaml(file).get("data", {}), "data")
    try:
        return open_documents(data, rule=config.documents, column=config.column)
    except UsageError as error:
        found = open_documents(data)
        console.print(f"data     not read as for the run: {first_line(error)}", highlight=False)
        return found


def embed_texts(embedder: TextEmbedder, documents: Documents, out: Path, console: Console) -> int:
    """The rows written: one embedding per document that is not blank."""
    blank: list[tuple[str, str]] = []

    def texts() -> Iterator[Document]:
        for document in documents.with_blank():
            if document.text.strip():
                yield document
            else:
                blank.append((document.id, "blank"))

    def rows() -> Iterable[tuple[list[str], list[str], Any, None]]:
        rest = texts()
        while chunk := list(islice(rest, _TEXTS)):
            names = [document.id for document in chunk]
            yield names, names, embedder.of_texts([document.text for document in chunk]), None

    pooling = f"{embedder.encoder.pool} over tokens, not normalised"
    metadata = {"encoder": embedder.description, "pooling": pooling, "source": documents.describe()}
    written = write_embeddings(out, rows(), metadata=metadata)
    listed = [(problem.path, f"at byte {problem.offset:,}: {problem.reason}") for problem in documents.problems]
    unlisted = documents.problem_count - len(listed)
    errors = list_left_out(out, listed + blank, unlisted=unlisted, console=console)
    if written == 0:
        raise DataError(f"no text of {documents.describe()} could be read; the reasons are in {errors}")
    return written
