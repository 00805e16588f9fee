"""A trained encoder together with the preprocessing it was trained for: images of any kind in, vectors out."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from selfstudy.data.arrays import to_image
from selfstudy.data.decode import decode_file, with_channels
from selfstudy.data.sources import BadInput, Source
from selfstudy.encoders.store import load_encoder
from selfstudy.errors import DataError
from selfstudy.evaluate.features import embed_batches
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
        """The encoder of a run folder, or of an ``encoder/`` folder by itself."""
        folder = Path(folder)
        encoder, config = load_encoder(folder / "encoder" if (folder / "encoder").is_dir() else folder)
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
