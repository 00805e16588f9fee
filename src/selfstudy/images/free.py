"""Features of images that are free: they need no training, and a trained encoder has to beat them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from rich.console import Console
from torch import Tensor

from selfstudy.data.batches import Passes
from selfstudy.encoders.packages import from_packages
from selfstudy.encoders.patches import working_size
from selfstudy.encoders.timm import EncoderSpec, build_encoder, spec_of
from selfstudy.errors import DataError
from selfstudy.images.embedder import Embedder
from selfstudy.images.features import raw_pixels, raw_pixels_name
from selfstudy.images.scan import Scan
from selfstudy.images.solve import passes_of
from selfstudy.images.sources import Source
from selfstudy.images.statistics import set_on_images
from selfstudy.methods.patches import Patches
from selfstudy.nn.statistics import layers_with_statistics
from selfstudy.ops.pixels import as_float
from selfstudy.ops.random import initial_seed
from selfstudy.probes.evaluation import LeftOutError
from selfstudy.probes.results import UNTRAINED, UNTRAINED_SET
from selfstudy.views.geometry import fit
from selfstudy.views.preprocess import Preprocessing

_SIZES, _FILTERS = (32, 20), (64, 128)  # 10,000 images in some ten seconds of two slow processors
_FITTED, _DIMENSIONS = 2048, 512  # images that it is solved on; numbers for each image
_LEAST = 7  # pixels a side: two by two cells of patches of 6 px


class RawPixels:
    """The pixels of images that are resized as for an encoder.

    Attributes:
        name: the row of the table.
        shape: (C, H, W), the size of the images as the encoder would read them.
    """

    def __init__(self, preprocessing: Preprocessing) -> None:
        self.shape = (preprocessing.channels, *preprocessing.size)
        self.name = raw_pixels_name(self.shape)

    def __call__(self, images: Sequence[Tensor]) -> Tensor:
        """The features (n, C * h * w) float32 of decoded images (C, H, W)."""
        return raw_pixels(torch.stack([as_float(fit(image, self.shape[1:])) for image in images]))


class FirstEncoder:
    """An encoder as it was before the first step of its run: with random weights, or with timm's.

    The running statistics of random weights are set on the images that the probes learn from. Those of timm's weights
    belong to them and stay.

    Attributes:
        name: the row of the table; it says which of these the encoder has.
        key: a text that differs for two encoders; None if the code of another package decides it.

    Args:
        trained: the encoder of the run.
        source: the images that the probes learn from.
        found: their scan.
        console: the console that shows how many statistics were set.
    """

    def __init__(self, trained: Embedder, source: Source, found: Scan, *, console: Console) -> None:
        self._trained, self._source, self._found, self._console = trained, source, found, console
        about = trained.description
        self._sets = not about["pretrained"] and bool(layers_with_statistics(trained.encoder))
        self.name = "timm's weights" if about["pretrained"] else UNTRAINED_SET if self._sets else UNTRAINED
        facts = (spec_of(about), about["seed"], trained.preprocessing, trained.device.type)
        self.key = None if about["name"] in from_packages() else repr(facts)

    @cached_property
    def embedder(self) -> Embedder:
        """The encoder with its preprocessing; it is built when it is first used."""
        one = untrained(self._trained)
        if self._sets:
            layers, images = set_on_images(
                one.encoder, one.preprocessing, source=self._source, found=self._found, device=one.device
            )
            text = f"statistics of {layers} normalisation layers set on {images:,} train images"
            self._console.print(f"         {text}", highlight=False)
        return one

    def __call__(self, images: Sequence[Tensor]) -> Tensor:
        """The embeddings (n, D) float32 of decoded images (C, H, W)."""
        return self.embedder.of_images(images)


class FreePatches:
    """Whitened patches of the train images as filters, in one fixed form that takes some ten seconds.

    It looks at images of at most 32 px, and reads 2,048 of them for its filters and its map. A run of ``patches`` takes
    more filters and all images.

    Attributes:
        name: the row of the table.
        shape: (C, H, W), the size of the images that it reads.

    Args:
        like: the preprocessing of the encoder of the run; its normalisation does not matter.
        source: the images that the probes learn from.
        found: their scan.
    """

    name = Patches.encoder_name

    def __init__(self, like: Preprocessing, source: Source, found: Scan) -> None:
        size = working_size(like.size, min(_SIZES[0], max(like.size)))
        self.shape = (like.channels, *size)
        self._preprocessing = Preprocessing(size, like.channels, [0.5] * like.channels, [0.25] * like.channels)
        self._source, self._found = source, found

    @cached_property
    def embedder(self) -> Embedder:
        """The encoder; it is solved when it is first used.

        Raises:
            LeftOutError: the images are too small, too few or flat.
        """
        channels, *size = self.shape
        images, sizes = min(_FITTED, len(self._found.good)), tuple(min(side, max(size)) for side in _SIZES)
        if min(min(working_size(size, side)) for side in sizes) < _LEAST:
            raise LeftOutError(f"images of {size[0]}x{size[1]} px are smaller than its patches")
        shape = {"sizes": sizes, "filters": _FILTERS, "dimensions": max(1, min(_DIMENSIONS, images // 4))}
        config = Patches.Config.model_validate(shape)
        settings = Patches.encoder_settings(config)
        encoder = build_encoder(EncoderSpec(self.name, self._preprocessing.size, channels, settings=settings))
        passes = passes_of(self._source, self._found, self._preprocessing, 2 * max(size), seed=0)
        method, read = Patches(encoder, config), _First(images, passes)
        try:
            for stage in range(len(Patches.stages)):
                method.solve(stage, read, seed=0)
        except DataError as error:
            raise LeftOutError(str(error)) from None
        return Embedder(encoder, self._preprocessing, encoder.description, device="cpu")

    def __call__(self, images: Sequence[Tensor]) -> Tensor:
        """The embeddings (n, D) float32 of decoded images (C, H, W)."""
        return self.embedder.of_images(images)


@dataclass
class _First:
    """Passes over the first images of a fixed random order, as a solved method reads them."""

    inputs: int
    passes: Passes

    def __call__(self, at_most: int | None = None) -> Iterator[Tensor]:
        """Start a pass over all of these images, or the first few."""
        return self.passes.batches(min(self.inputs, at_most or self.inputs), {})


def untrained(embedder: Embedder) -> Embedder:
    """The same encoder before its first step: with timm's weights if the run began with them."""
    torch.manual_seed(initial_seed(embedder.description["seed"]))
    return Embedder(build_encoder(spec_of(embedder.description)), embedder.preprocessing, embedder.description)
