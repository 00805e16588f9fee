"""A trained encoder together with the preprocessing it was trained for: images of any kind in, vectors out."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from selfstudy.data.arrays import to_image
from selfstudy.data.decode import decode_file, with_channels
from selfstudy.data.scan import Scan
from selfstudy.data.sources import BadInput, Source
from selfstudy.encoders.store import load_encoder
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
            images: one or several paths, PIL images, arrays (H, W) or (H, W, C), or tensors (C, H, W); uint8, or
                float in [0, 1].

        Raises:
            DataError: an image that cannot be read, or with the wrong number of channels.
        """
        single = isinstance(images, str | Path | np.ndarray | Tensor) or not isinstance(images, Sequence)
        prepared = [self.preprocessing.prepare(self._read(image)) for image in ([images] if single else images)]
        batches = (torch.stack(prepared[i : i + _BATCH]) for i in range(0, len(prepared), _BATCH))
        found = list(embed_batches(self.encoder, batches, device=self.device))
        return torch.cat(found).numpy() if found else np.zeros((0, self.description["embed_dim"]), np.float32)

    def _read(self, image: Any) -> Tensor:
        if isinstance(image, str | Path):
            return decode_file(image, channels=self.preprocessing.channels)
        return to_image(image)

    def of_source(self, source: Source, indices: Iterable[int]) -> Iterator[Chunk]:
        """Embeddings of a source's images in order, a batch at a time, so that memory does not grow with the data."""
        indices = list(indices)
        for start in range(0, len(indices), _BATCH):
            kept, prepared, unreadable = [], [], {}
            for index in indices[start : start + _BATCH]:
                try:
                    prepared.append(self._prepare(source, index))
                    kept.append(index)
                except BadInput as error:
                    unreadable[index] = str(error)
            embeddings = (
                next(embed_batches(self.encoder, [torch.stack(prepared)], device=self.device))
                if prepared
                else torch.zeros(0, 0)
            )
            yield Chunk(kept, embeddings, unreadable)

    def _prepare(self, source: Source, index: int) -> Tensor:
        """One image of a source, gray repeated where the encoder wants three channels, as in training."""
        return self.preprocessing.prepare(with_channels(source.read(index), self.preprocessing.channels))

    def of_scan(self, scan: Scan, source: Source) -> Tensor:
        """Embeddings (N, D) of every usable image of a scan, from memory when it holds them."""
        if scan.images is not None:
            images = scan.images
            batches = (
                self.preprocessing.prepare_batch([images[i] for i in range(s, min(s + _BATCH, len(images)))])
                for s in range(0, len(images), _BATCH)
            )
            return torch.cat(list(embed_batches(self.encoder, batches, device=self.device)))
        return torch.cat([chunk.embeddings for chunk in self.of_source(source, scan.good.tolist())])
