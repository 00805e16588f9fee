"""A trained encoder together with the preprocessing it was trained for: images of any kind in, vectors out."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from rich.console import Console
from torch import Tensor, nn

from selfstudy.data.embeddings import list_left_out, write_embeddings
from selfstudy.encoders.store import load_encoder
from selfstudy.errors import DataError
from selfstudy.images.arrays import to_image
from selfstudy.images.decode import BadInput, decode_file, with_channels
from selfstudy.images.sources import Source
from selfstudy.nn.modes import evaluation_mode
from selfstudy.ops.devices import to_device
from selfstudy.views.preprocess import Preprocessing

_BATCH = 256


class Chunk(NamedTuple):
    """Embeddings of consecutive inputs of a source, and the inputs that could not be read."""

    indices: list[int]
    embeddings: Tensor
    unreadable: dict[int, str]


class Embedder:
    """An encoder that remembers its image size, channels and normalisation.

    Args:
        encoder: (B, C, h, w) to (B, D); put into eval mode and moved.
        preprocessing: what its images go through first.
        description: facts about it, kept with everything it makes.
        device: where it runs; the machine's accelerator, or else the CPU, when left out.
    """

    def __init__(
        self,
        encoder: nn.Module,
        preprocessing: Preprocessing,
        description: dict[str, Any],
        *,
        device: torch.device | str | None = None,
    ) -> None:
        self.device = torch.device(device or torch.accelerator.current_accelerator(check_available=True) or "cpu")
        self.encoder = encoder.eval().to(memory_format=torch.channels_last)
        self.preprocessing = preprocessing
        self.description = description

    @classmethod
    def load(cls, folder: str | Path, *, device: torch.device | str | None = None) -> "Embedder":
        """The encoder in an ``encoder/`` folder."""
        encoder, config = load_encoder(Path(folder))
        height, width = config["image_size"]
        preprocessing = Preprocessing((height, width), config["channels"], config["mean"], config["std"])
        return cls(encoder, preprocessing, dict(config), device=device)

    def embed(self, images: Sequence[Any] | Any) -> np.ndarray:
        """Embeddings of images: (n, D) float32.

        Args:
            images: one or several paths, PIL images, arrays (H, W) or (H, W, C), or tensors (C, H, W); or a batch as
                one array (B, H, W, C) or tensor (B, C, H, W); uint8, or float in [0, 1].

        Raises:
            DataError: an image that cannot be read, which is named, or one with the wrong number of channels.
        """
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
        """Embeddings (B, D) of one batch of decoded images (C, H, W), of any sizes."""
        return next(embed_batches(self.encoder, [self.preprocessing.prepare_batch(images)], device=self.device))

    def of_source(self, source: Source, indices: Iterable[int]) -> Iterator[Chunk]:
        """Embeddings of a source's images in order, a batch at a time, so that memory does not grow with the data."""
        for kept, images, unreadable in read_batches(source, indices, self.preprocessing.channels):
            yield Chunk(kept, self.of_images(images) if images else torch.zeros(0, 0), unreadable)


def read_batches(
    source: Source, indices: Iterable[int], channels: int
) -> Iterator[tuple[list[int], list[Tensor], dict[int, str]]]:
    """Images of a source, some at a time: numbers read, their images (C, H, W), and reasons for those not read.

    Gray is repeated where three channels are wanted, as in training.
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
    """Embeddings of each batch in turn, in eval mode; the encoder's modes are as before once the iterator is done.

    Args:
        encoder: moved to ``device`` and left there.
        batches: (B, C, h, w) float32, normalised.
        device: where the encoder runs.
        precision: ``"fp32"``, or ``"bf16"`` for bfloat16 autocast.

    Yields:
        (B, D) float32 on the CPU, free of the graph; ordinary tensors that may be trained on.
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
