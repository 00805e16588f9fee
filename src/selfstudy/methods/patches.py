"""Patches: whitened patches of the images as filters, pooled and whitened again; solved without gradients.

Sources: Coates and Ng 2011, PMLR 15:215 (whitening, soft threshold, pooling); Thiry et al. 2021, arXiv:2101.07528
(random patches as filters). The stages:

1. Filters (:mod:`selfstudy.ops.patch_filters`). Patches x are cut at random and normalised: x' = (x - mean) /
   sqrt(variance + c). ZCA with the covariance of x' plus ``smoothing`` times its mean eigenvalue gives Z; random
   patches Z (x' - mean), scaled to length 1, are the filters w. The response is w Z (x' - mean), in units of
   ``threshold`` times its standard deviation.
2. Map (:mod:`selfstudy.ops.layout`). Features are means over the cells of a grid of softshrink(response, 1) and of its
   absolute value. They are standardised; the differences between cells get the weight under which two crops of an
   image agree most. The map keeps the leading principal components, divided by their variance to the power 0.35.

Differences from Coates and Ng: random patches instead of k-means (as good here, and at no cost), several working sizes,
mirror images are added up, the weight of the layout, components instead of all features.
"""

from typing import Any, cast

import torch
from pydantic import Field, model_validator
from torch import Tensor

from selfstudy.encoders.patch_costs import USUAL_FILTERS, Job, affordable_shape
from selfstudy.encoders.patches import PatchNetwork, PatchSettings
from selfstudy.errors import DataError, UsageError
from selfstudy.methods.base import DataFacts, MethodConfig, Recipe, Setting
from selfstudy.methods.solved import Read, SolvedMethod
from selfstudy.ops.layout import best_share, whitening_map
from selfstudy.ops.moments import Moments
from selfstudy.ops.patch_filters import cut_patches, whitened_filters
from selfstudy.ops.random import fold, generator
from selfstudy.views.augment import crop
from selfstudy.views.spec import Spec, View

_SAMPLE = 4_000  # images that patches are cut from
_PATCHES = 200_000
_CROPPED, _CROP = 1_500, (0.6, 1.0)  # images whose crops are compared, and the share of the area that a crop keeps
_CROP_STREAM = 0x63726F70


class Patches(SolvedMethod):
    """Whitened patches as filters (Coates and Ng 2011, PMLR 15:215).

    Raises:
        UsageError: the encoder is not a :class:`selfstudy.encoders.patches.PatchNetwork`.
    """

    family = "no gradient"
    stages = ("filters", "map")
    encoder_name = "patches"
    largest_side = 64

    class Config(MethodConfig):
        """The shape of the encoder, and the constants of its filters."""

        sizes: tuple[int, ...] = Field(
            (32, 20), description="Longer side of the image at each working size, in pixels."
        )
        filters: tuple[int, ...] = Field(
            (USUAL_FILTERS, 2 * USUAL_FILTERS), description="Filters at each working size."
        )
        patch: int = Field(6, ge=2, le=64, description="Side of a patch in pixels.")
        grid: int = Field(2, ge=1, le=16, description="Cells per side over which responses are averaged.")
        dimensions: int = Field(2048, ge=1, le=65_536, description="Length of the embedding.")
        mirror: bool = Field(True, description="Give an image and its mirror image the same features.")
        smoothing: float = Field(
            0.1, gt=0, description="Added to the eigenvalues of patches, as a share of their mean."
        )
        threshold: float = Field(0.7, ge=0.01, description="Responses that count, in standard deviations.")

        @model_validator(mode="after")
        def _fits(self) -> "Patches.Config":
            PatchSettings(**_encoder_settings(self))
            return self

    config: Config

    @staticmethod
    def default_views(size: tuple[int, int], channels: int = 3) -> list[Spec]:
        """The whole image."""
        return [View(size, scale=(1.0, 1.0), ratio=(1.0, 1.0), flip=0.0)]

    @classmethod
    def encoder_settings(cls, config: MethodConfig) -> dict[str, Any]:
        """The fields of :class:`selfstudy.encoders.patches.PatchSettings`."""
        return _encoder_settings(cast(Patches.Config, config))

    @staticmethod
    def recipe(facts: DataFacts) -> Recipe:
        """As many filters as the time of a budget in minutes allows, measured on this machine; else a fixed number."""
        job = Job(facts.inputs, facts.size, facts.channels, facts.seconds)
        sizes, filters, why = affordable_shape(job)
        features = PatchSettings(sizes=sizes, filters=filters, patch=6, grid=2, dimensions=1, mirror=True).features
        dimensions = min(2048, features, max(32, facts.inputs // 4), max(1, facts.inputs - 1))
        limits = f"at most 2,048, {features:,} features, a quarter of {facts.inputs:,} images"
        return Recipe.solved(
            {
                "sizes": Setting(sizes, "fields of view of several widths"),
                "filters": Setting(filters, why),
                "dimensions": Setting(dimensions, limits),
            }
        )

    def solve(self, stage: int, read: Read, *, seed: int) -> dict[str, float]:
        """Fill in the filters of every working size, or the map from features to the embedding."""
        with torch.no_grad():
            return self._find_filters(read, seed) if stage == 0 else self._find_map(read, seed)

    def filters(self) -> dict[str, Tensor]:
        """The filters of every working size, by the longer side of the image there."""
        scales = enumerate(self._network.working_sizes(), 1)
        return {f"{number}: images of {max(scale.size)} px": scale.kernels for number, scale in scales}

    @property
    def _network(self) -> PatchNetwork:
        network = getattr(self.encoder, "network", self.encoder)
        if not isinstance(network, PatchNetwork):
            raise UsageError(f"patches solves its own encoder, not {type(network).__name__}\nleave the encoder out")
        return network

    def _find_filters(self, read: Read, seed: int) -> dict[str, float]:
        """Fill in the kernels of every working size from patches of a sample of images."""
        config, scales = self.config, self._network.working_sizes()
        per_image, images = max(1, _PATCHES // min(_SAMPLE, read.inputs)), 0
        random = [generator(seed, number) for number in range(len(scales))]
        cut: list[list[Tensor]] = [[] for _ in scales]
        for batch in read(_SAMPLE):
            images += len(batch)
            for scale, draws, patches in zip(scales, random, cut, strict=True):
                patches.append(cut_patches(scale.resized(batch), config.patch, per_image, draws))
        for scale, draws, patches in zip(scales, random, cut, strict=True):
            found = torch.cat(patches)
            if config.mirror:
                found = torch.cat([found, found.flip(3)])
            made = whitened_filters(
                found, len(scale.kernels), smoothing=config.smoothing, threshold=config.threshold, random=draws
            )
            for name, value in made._asdict().items():
                getattr(scale, name).copy_(value)
        return {"images": float(images), "patches": float(images * per_image)}

    def _find_map(self, read: Read, seed: int) -> dict[str, float]:
        """Fill in the map, from the covariance of the features of all images and from crops of some."""
        network, cells, moments = self._network, self.config.grid**2, Moments()
        for images in read(None):
            moments.add(network.features(images))
        if moments.count <= self.config.dimensions:
            raise DataError(
                f"an embedding of {self.config.dimensions:,} numbers needs more images than that: {moments.count:,}\n"
                f"add images, or set method.dimensions={max(1, moments.count - 1)}"
            )
        network.mean.copy_(moments.mean)
        covariance = moments.covariance
        share = best_share(covariance, cells, self._pairs(read, seed))
        found, kept = whitening_map(covariance, cells, share, self.config.dimensions)
        network.projection.copy_(found)
        return {"images": float(moments.count), "layout": share, "variance_kept": kept}

    def _pairs(self, read: Read, seed: int) -> tuple[Tensor, Tensor]:
        """The centred features (n, F) of two crops of each of some images."""
        pairs: tuple[list[Tensor], list[Tensor]] = ([], [])
        for number, images in enumerate(read(_CROPPED)):
            view = View((images.shape[2], images.shape[3]), scale=_CROP, flip=0.0)
            for which, found in enumerate(pairs):
                keys = fold(seed, _CROP_STREAM, number, which, torch.arange(len(images)))
                found.append(self._network.features(crop(images, view, keys)) - self._network.mean)
        return torch.cat(pairs[0]), torch.cat(pairs[1])


def _encoder_settings(config: Patches.Config) -> dict[str, Any]:
    return {name: getattr(config, name) for name in PatchSettings.model_fields}
