"""Whitening statistics of an encoder of text: from the corpus of its run, or from other documents."""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from torch import Tensor

from selfstudy.encoders.text_store import FACTS, TextEncoderDescription
from selfstudy.runs.whitening import Allowance, add_whitening, sample
from selfstudy.text.batches import Pieces
from selfstudy.text.documents import Documents
from selfstudy.text.embedder import TextEmbedder, documents_as_for
from selfstudy.text.token_store import Stream

T = TypeVar("T")
_TEXTS = 256  # texts that are embedded at once
_LETTERS = 4  # per token, about


def whiten_by_tokens(embedder: TextEmbedder, stream: Stream, *, end: int, allowed: Allowance, console: Console) -> int:
    """Add statistics of the documents that a run was trained on, in pieces of at most a row; return their number.

    Args:
        embedder: the encoder, loaded from its folder.
        stream: the tokens of the documents.
        end: the id after each document.
        allowed: the largest cost of the statistics.
        console: the console that shows the number of texts and the time.
    """
    pieces = Pieces(stream, embedder.room, end)
    ids = (stream.read(*pieces.span(0, row)).tolist() for row in sample(len(pieces), allowed.inputs))
    return _add(embedder, (embedder.of_ids(chunk) for chunk in _chunks(ids)), allowed, console)


def whiten_by_data(folder: Path, run: Path, data: object, console: Console) -> int:
    """Add statistics of the documents in ``data``, in pieces of about a row; return the number of pieces.

    Args:
        folder: the ``encoder/`` folder.
        run: the run folder, which says what a document is; or the ``encoder/`` folder.
        data: the data, in any form that :func:`selfstudy.text.documents.open_documents` opens.
        console: the console that shows the number of texts and the time.
    """
    embedder, documents = TextEmbedder.load(folder), documents_as_for(run, data, console)
    length = _LETTERS * embedder.room
    chosen = set(sample(sum(1 for _ in _parts(documents, length))))
    texts = (part for number, part in enumerate(_parts(documents, length)) if number in chosen)
    return _add(embedder, (embedder.of_texts(chunk) for chunk in _chunks(texts)), Allowance(), console)


def _add(embedder: TextEmbedder, embeddings: Iterator[Tensor], allowed: Allowance, console: Console) -> int:
    assert embedder.folder is not None  # both callers loaded it
    file, model = embedder.folder / FACTS, TextEncoderDescription
    return add_whitening(embeddings, file, model, seconds=allowed.seconds, unit="texts", console=console)


def _parts(documents: Documents, length: int) -> Iterator[str]:
    """The documents, cut into parts of at most ``length`` characters; blank parts are left out."""
    for document in documents:
        for start in range(0, len(document.text), length):
            if (part := document.text[start : start + length]).strip():
                yield part


def _chunks(items: Iterable[T]) -> Iterator[list[T]]:
    rest = iter(items)
    while chunk := list(islice(rest, _TEXTS)):
        yield chunk
