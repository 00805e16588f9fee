"""A trained encoder with its preprocessing: it turns images into vectors."""

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from rich.console import Console
from torch import Tensor, nn

from selfstudy.data.embeddings import Rows, list_left_out, write_embeddings
from selfstudy.encoders.store import load_encoder
from selfstudy.encoders.whitening import load_whitening
from selfstudy.errors import DataError
from selfstudy.images.arrays import to_image
from selfstudy.images.decode import BadInput, decode_file, with_channels
from selfstudy.images.sources import Source
from selfstudy.machine.devices import embedding_device
from selfstudy.nn.modes import evaluation_mode
from selfstudy.ops.devices import to_device
from selfstudy.ops.whitening import Whitening
from selfstudy.views.preprocess import Preprocessing

_BATCH = 256


class Chunk(NamedTuple):
    """Embeddings of consecutive inputs of a source, and the inputs that could not be read."""

    indices: list[int]
    embeddings: Tensor
    unreadable: dict[int, str]


class Embedder:
    """An encoder of images with its image size, channels and normalisation.

    Args:
        encoder: a network from (B, C, h, w) to (B, D); it is put into eval mode, and moved to the device when used.
        preprocessing: the resizing and normalisation of the images.
        description: facts about the encoder, which are stored in every file made with it.
        device: the device to compute on; by default the accelerator of the machine, or the CPU.
        folder: the ``encoder/`` folder that it was loaded from, if any.
        whitening: the statistics by which every embedding is whitened; None leaves it as it is.
    """

    def __init__(
        self,
        encoder: nn.Module,
        preprocessing: Preprocessing,
        description: dict[str, Any],
        *,
        device: torch.device | str | None = None,
        folder: Path | None = None,
        whitening: Whitening | None = None,
    ) -> None:
        self.device = embedding_device(device)
        self.folder, self.whitening = folder, whitening
        self.encoder = encoder.eval().to(memory_format=torch.channels_last)
        self.preprocessing = preprocessing
        self.description = description

    @classmethod
    def load(cls, folder: str | Path, *, device: torch.device | str | None = None) -> "Embedder":
        """The embedder in an ``encoder/`` folder.

        Args:
            folder: the ``encoder/`` folder of a run.
            device: the device to compute on; by default the accelerator of the machine, or the CPU.

        Raises:
            FileRefusedError: a file of the encoder is missing, damaged or unsafe.
        """
        encoder, config = load_encoder(Path(folder))
        height, width = config["image_size"]
        preprocessing = Preprocessing((height, width), config["channels"], config["mean"], config["std"])
        return cls(encoder, preprocessing, dict(config), device=device, folder=Path(folder))

    @cached_property
    def whitened(self) -> "Embedder":
        """The same embedder, whose embeddings are whitened by the statistics of its run.

        Raises:
            UsageError: the encoder has no statistics, or was not loaded from a folder.
            FileRefusedError: the statistics are damaged.
        """
        whitening = load_whitening(self.folder, self.description)
        about = self.description | {"embed_dim": whitening.projection.shape[1]}
        arguments = self.encoder, self.preprocessing, about
        return Embedder(*arguments, device=self.device, folder=self.folder, whitening=whitening)

    def embed(self, images: Any, *, whiten: bool = False) -> np.ndarray:
        """The embeddings (n, D) float32 of images.

        Args:
            images: one or several paths, PIL images, arrays (H, W) or (H, W, C), or tensors (C, H, W); or a batch as
                one array (B, H, W, C) or tensor (B, C, H, W); uint8, or float in [0, 1].
            whiten: True to whiten the embeddings by the statistics of the run.

        Raises:
            DataError: an image cannot be read, or has the wrong number of channels; the message names it.
            UsageError: the run has no whitening statistics; the message names the command that adds them.
        """
        if whiten:
            return self.whitened.embed(images)
        batch = isinstance(images, np.ndarray | Tensor) and images.ndim == 4
        several = batch or isinstance(images, Sequence) and not isinstance(images, str)
        everything = images if several else [images]
        found = [
            self.of_images([self._read(everything[i], i) for i in range(start, min(start + _BATCH, len(everything)))])
            for start in range(0, len(everything), _BATCH)
        ]
        return torch.cat(found).numpy() if found else np.zeros((0, self.description["embed_dim"]), np.float32)

    def _read(self, image: Any, number: int) -> Tensor:
        is_path = isinstance(image, str | Path)
        try:
            return decode_file(image, channels=self.preprocessing.channels) if is_path else to_image(image)
        except BadInput as error:
            name = str(image) if is_path else f"image {number} (from 0)"
            raise DataError(f"{name}: {str(error).removeprefix(f'{name} ')}") from None

    def of_images(self, images: Sequence[Tensor]) -> Tensor:
        """The embeddings (B, D) float32 of one batch, on the CPU.

        Args:
            images: B decoded images (C, H, W) of any sizes, uint8 or float32 in [0, 1].
        """
        batch = self.preprocessing.prepare_batch(images)
        embeddings = next(embed_batches(self.encoder, [batch], device=self.device))
        return embeddings if self.whitening is None else self.whitening.apply(embeddings)

    def of_source(self, source: Source, indices: Iterable[int]) -> Iterator[Chunk]:
        """The embeddings of images of a source in order, one batch at a time, so memory does not grow with the data.

        Args:
            source: the source of the images.
            indices: the numbers of the images in the source.
        """
        for kept, images, unreadable in read_batches(source, indices, self.preprocessing.channels):
            yield Chunk(kept, self.of_images(images) if images else torch.zeros(0, 0), unreadable)


def read_batches(
    source: Source, indices: Iterable[int], channels: int
) -> Iterator[tuple[list[int], list[Tensor], dict[int, str]]]:
    """The images of a source in batches: the numbers and images (C, H, W) that were read, and reasons for the others.

    Args:
        source: the source of the images.
        indices: the numbers of the images in the source.
        channels: the number of channels of every image; gray images are repeated for three, as in training.
    """
    indices = list(indices)
    for start in range(0, len(indices), _BATCH):
        kept, images, unreadable = [], [], {}
        for index in indices[start : start + _BATCH]:
            try:
                images.append(with_channels(source.read(index), channels))
                kept.append(index)
            except BadInput as error:
                unreadable[index] = str(error)
        yield kept, images, unreadable


def embed_batches(
    encoder: nn.Module, batches: Iterable[Tensor], *, device: torch.device | str, precision: str = "fp32"
) -> Iterator[Tensor]:
    """The embeddings of each batch, computed in eval mode; the encoder has its earlier modes after the last one.

    Args:
        encoder: the network; it is moved to ``device`` and stays there.
        batches: the batches (B, C, h, w) float32, normalised.
        device: the device to compute on.
        precision: ``"fp32"``, or ``"bf16"`` for bfloat16 autocast.

    Yields:
        (B, D) float32 on the CPU, without a graph; they may be used in training.
    """
    device = torch.device(device)
    encoder.to(device)
    with evaluation_mode(encoder):
        for batch in batches:
            # the contexts must not span the yield: they would stay switched on in the caller's code
            with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
                embedding = encoder(to_device(batch, device)).float().cpu()  # (B, D)
            yield embedding.clone()  # a tensor made in inference mode can never require a gradient


def embed_images(embedder: Embedder, source: Source, out: Path, console: Console) -> int:
    """Write one embedding per readable image as Parquet; return the number of rows.

    Args:
        embedder: the encoder with its preprocessing.
        source: the images.
        out: the file to write.
        console: the console that shows warnings and the number of unreadable images.

    Raises:
        DataError: nothing could be read.
    """
    for warning in source.warnings:
        console.print(f"data     {warning}", highlight=False)
    skipped: dict[int, str] = {}

    def rows() -> Iterable[Rows]:
        for chunk in embedder.of_source(source, range(len(source))):
            skipped.update(chunk.unreadable)
            if chunk.indices:
                labels = None if source.labels is None else [int(source.labels[i]) for i in chunk.indices]
                ids, paths = ([names[i] for i in chunk.indices] for names in (source.ids, source.paths))
                yield ids, paths, chunk.embeddings, labels

    metadata = {
        "encoder": embedder.description,
        "pooling": "encoder output, not normalised",
        "whitened": embedder.whitening is not None,
        "source": source.describe(),
    }
    written = write_embeddings(out, rows(), metadata=metadata)
    errors = list_left_out(out, [(source.ids[i], why) for i, why in skipped.items()], console=console)
    if written == 0:
        raise DataError(f"no input of {source.describe()} could be read; the reasons are in {errors}")
    return written
