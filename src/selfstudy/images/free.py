"""Features of images that are free: they need no training, and a trained encoder has to beat them."""

from collections.abc import Sequence
from functools import cached_property

import torch
from rich.console import Console
from torch import Tensor

from selfstudy.encoders.packages import from_packages
from selfstudy.encoders.timm import build_encoder, spec_of
from selfstudy.images.embedder import Embedder
from selfstudy.images.features import raw_pixels, raw_pixels_name
from selfstudy.images.scan import Scan
from selfstudy.images.sources import Source
from selfstudy.images.statistics import set_on_images
from selfstudy.nn.statistics import layers_with_statistics
from selfstudy.ops.pixels import as_float
from selfstudy.ops.random import initial_seed
from selfstudy.probes.results import UNTRAINED, UNTRAINED_SET
from selfstudy.views.geometry import fit
from selfstudy.views.preprocess import Preprocessing


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

    def __init__(self, trained: Embedder, *, source: Source, found: Scan, console: Console) -> None:
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


def untrained(embedder: Embedder) -> Embedder:
    """The same encoder before its first step: with timm's weights if the run began with them."""
    torch.manual_seed(initial_seed(embedder.description["seed"]))
    return Embedder(build_encoder(spec_of(embedder.description)), embedder.preprocessing, embedder.description)
