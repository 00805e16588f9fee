"""Whitening statistics of an encoder of images: from the images of its run, or from others."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from rich.console import Console
from torch import Tensor

from selfstudy.encoders.store import CONFIG, ImageEncoderDescription
from selfstudy.images.decode import BadInput
from selfstudy.images.embedder import Embedder
from selfstudy.images.opening import open_source
from selfstudy.images.scan import Scan
from selfstudy.images.sources import Source
from selfstudy.runs.whitening import Allowance, add_whitening, sample

_BATCH = 256


def whiten_by_scan(embedder: Embedder, source: Source, found: Scan, *, allowed: Allowance, console: Console) -> int:
    """Add statistics of the images that a run was trained on; return the number of images.

    Args:
        embedder: the encoder, loaded from its folder.
        source: the source of the images.
        found: the scan of the source.
        allowed: the largest cost of the statistics.
        console: the console that shows the number of images and the time.
    """
    batches = _batches(source, found, sample(len(found.good), allowed.inputs))
    return _add(embedder, (embedder.of_images(images) for images in batches), allowed, console)


def whiten_by_data(folder: Path, data: object, console: Console) -> int:
    """Add statistics of the images in ``data`` to the encoder in a folder; return the number of images."""
    embedder, source = Embedder.load(folder), open_source(data)
    chunks = embedder.of_source(source, sample(len(source)))
    return _add(embedder, (chunk.embeddings for chunk in chunks if chunk.indices), Allowance(), console)


def _add(embedder: Embedder, embeddings: Iterator[Tensor], allowed: Allowance, console: Console) -> int:
    assert embedder.folder is not None  # both callers loaded it
    file, model = embedder.folder / CONFIG, ImageEncoderDescription
    return add_whitening(embeddings, file, model, seconds=allowed.seconds, unit="images", console=console)


def _batches(source: Source, found: Scan, positions: Sequence[int]) -> Iterator[list[Tensor]]:
    """The decoded images at some positions of a scan, in batches; those that cannot be read any more are left out."""
    for start in range(0, len(positions), _BATCH):
        images = []
        for position in positions[start : start + _BATCH]:
            with suppress(BadInput):
                images.append(found.image(source, position))
        if images:
            yield images
