"""Patches: whitened patches of the images as filters, pooled and whitened again; solved without gradients.

Sources: Coates and Ng 2011, PMLR 15:215 (whitening, soft threshold, pooling over a grid); Thiry et al. 2021,
arXiv:2101.07528 (random patches as filters). The stages:

1. Filters. Patches x are cut at random from a sample of images and normalised: x' = (x - mean) / sqrt(variance + c),
   with c a tenth of the mean variance. ZCA whitening with the covariance of x' plus ``smoothing`` times its mean
   eigenvalue gives Z; K of the whitened patches, scaled to length 1, are the filters w. The response to a patch is
   w Z (x' - mean), in units of ``threshold`` times its standard deviation.
2. Map. One pass over all images gives mean and covariance of the features: means over the cells of a grid of the
   responses beyond 1, softshrink(z) and its absolute value. The map standardises them and keeps the leading principal
   components, whitened. They are ordered by variance, so the first d numbers are the encoder with d dimensions.

Differences from Coates and Ng: random patches instead of k-means (as good here, and at no cost); a stronger smoothing;
several working sizes; mirror images are added up; the whitened components instead of all features.
"""

import math
import time
from collections.abc import Callable
from typing import Any, cast

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor

from selfstudy.encoders.patches import AT_ONCE, PatchNetwork, PatchSettings
from selfstudy.encoders.timm import EncoderSpec
from selfstudy.errors import DataError, UsageError
from selfstudy.methods.base import DataFacts, MethodConfig, Recipe, Setting
from selfstudy.methods.solved import Read, SolvedMethod
from selfstudy.ops.random import generator
from selfstudy.ops.whitening import principal
from selfstudy.views.spec import Spec, View

_SAMPLE = 4_000  # images that patches are cut from
_PATCHES = 200_000
_SIZES = (32, 20)
_FEWEST, _USUAL, _MOST = 32, 256, 416  # filters at the larger working size; the smaller one has twice as many
_CONTRAST = 0.1  # added to the variance of a patch, as a share of the mean variance
_MEASURED = 20_000  # patches on which the spread of responses is measured
_SMALLEST = 1e-8
_TRIAL_FILTERS, _TRIAL_FEATURES = 64, 1024
_PRODUCTS_OF_COMPONENTS = 12  # products of F x F matrices that take as long as the components
_SHARE = 0.8  # of the budget that measurements on noise may fill


class Patches(SolvedMethod):
    """Whitened patches as filters (Coates and Ng 2011, PMLR 15:215).

    Raises:
        UsageError: the encoder is not a :class:`selfstudy.encoders.patches.PatchNetwork`.
    """

    family = "no gradient"
    stages = ("filters", "map")
    encoder_name = "patches"
    largest_side = max(_SIZES)

    class Config(MethodConfig):
        """The shape of the encoder, and the constants of its filters."""

        sizes: tuple[int, ...] = Field(_SIZES, description="Longer side of the image at each working size, in pixels.")
        filters: tuple[int, ...] = Field((_USUAL, 2 * _USUAL), description="Number of filters at each working size.")
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
        """The number of filters that the time of a budget in minutes allows, measured here; else a fixed number."""
        sizes = tuple(min(size, max(facts.size)) for size in _SIZES)
        most, why = _USUAL, "the usual number"
        if facts.seconds is not None:
            most, why = _affordable(facts, sizes)
        filters = (most, 2 * most)
        features = PatchSettings(sizes=sizes, filters=filters, patch=6, grid=2, dimensions=1, mirror=True).features
        dimensions = min(2048, features, max(32, facts.inputs // 4), max(1, facts.inputs - 1))
        method = {
            "sizes": Setting(sizes, "a wide and a narrow field of view"),
            "filters": Setting(filters, why),
            "dimensions": Setting(dimensions, f"at most 2,048, a quarter of {facts.inputs:,} images, and the features"),
        }
        return Recipe.solved(method)

    def solve(self, stage: int, read: Read, *, seed: int) -> dict[str, float]:
        """Fill in the filters of every working size, or the map from features to the embedding."""
        with torch.no_grad():
            return self._find_filters(read, seed) if stage == 0 else self._find_map(read)

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
        scales, side = self._network.working_sizes(), self.config.patch
        per_image, images = max(1, _PATCHES // min(_SAMPLE, read.inputs)), 0
        random = [generator(seed, number) for number in range(len(scales))]
        cut: list[list[Tensor]] = [[] for _ in scales]
        for batch in read(_SAMPLE):
            images += len(batch)
            for scale, draws, patches in zip(scales, random, cut, strict=True):
                patches.append(_patches(scale.resized(batch), side, per_image, draws))
        for scale, draws, patches in zip(scales, random, cut, strict=True):
            found = torch.cat(patches)
            if self.config.mirror:
                found = torch.cat([found, found.flip(3)])
            kernels, means, contrast = _filters(found, len(scale.kernels), self.config, draws)
            scale.kernels.copy_(kernels)
            scale.means.copy_(means)
            scale.contrast.copy_(contrast)
        return {"images": float(images), "patches": float(images * per_image)}

    def _find_map(self, read: Read) -> dict[str, float]:
        """Standardise the features of all images and keep their leading principal components, whitened."""
        network = self._network
        count, total, shift = 0, torch.zeros_like(network.mean), None
        products = total.new_zeros(len(total), len(total))
        for images in read(None):
            features = network.features(images)
            shift = features.mean(dim=0) if shift is None else shift  # sums of small numbers keep their digits
            features -= shift
            count, total = count + len(features), total + features.sum(dim=0)
            products.addmm_(features.T, features)
        if count <= self.config.dimensions:
            raise _too_few(self.config.dimensions, count)
        mean = total / count
        covariance = products / count - torch.outer(mean, mean)
        scale = covariance.diagonal().clamp_min(_SMALLEST).rsqrt()
        values, directions = principal(covariance * scale * scale[:, None], self.config.dimensions)
        network.mean.copy_(mean + cast(Tensor, shift))
        network.projection.copy_(scale[:, None] * directions * values.clamp_min(_SMALLEST).rsqrt())
        return {"images": float(count), "variance_kept": float(values.sum() / len(mean))}


def _encoder_settings(config: Patches.Config) -> dict[str, Any]:
    return {name: getattr(config, name) for name in PatchSettings.model_fields}


def _patches(images: Tensor, side: int, per_image: int, random: torch.Generator) -> Tensor:
    """Patches (B * per_image, C, side, side) at random places of images (B, C, h, w)."""
    windows = images.unfold(2, side, 1).unfold(3, side, 1)  # (B, C, h', w', side, side)
    rows = torch.randint(windows.shape[2], (len(images), per_image), generator=random)
    columns = torch.randint(windows.shape[3], (len(images), per_image), generator=random)
    return windows[torch.arange(len(images))[:, None], :, rows, columns].flatten(0, 1)


def _filters(
    patches: Tensor, count: int, config: Patches.Config, random: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Kernels (K, C, p, p), their responses (K,) to the mean patch, and the constant () added to variances.

    Raises:
        DataError: there are fewer patches than filters, or all are constant.
    """
    flat = patches.flatten(1)
    if len(flat) < count:
        raise DataError(f"{len(flat):,} patches for {count:,} filters\nadd images, or lower method.filters")
    variance = flat.var(dim=1, correction=0, keepdim=True)
    contrast = _CONTRAST * variance.mean()
    if float(contrast) < _SMALLEST:
        raise DataError("every image is one flat colour: there is nothing to tell apart\ncheck the images")
    flat = (flat - flat.mean(dim=1, keepdim=True)) * (variance + contrast).rsqrt()
    mean = flat.mean(dim=0)
    values, directions = torch.linalg.eigh((flat - mean).T @ (flat - mean) / len(flat))
    whiten = directions * (values + config.smoothing * values.mean()).rsqrt() @ directions.T  # ZCA
    chosen = (flat[torch.randperm(len(flat), generator=random)[:count]] - mean) @ whiten
    kernels = F.normalize(chosen, dim=1) @ whiten  # (K, C * p * p)
    kernels = kernels / (config.threshold * ((flat[:_MEASURED] - mean) @ kernels.T).std())
    kernels = kernels - kernels.mean(dim=1, keepdim=True)  # a normalised patch has mean zero
    return kernels.unflatten(1, patches.shape[1:]), kernels @ mean, contrast


def _affordable(facts: DataFacts, sizes: tuple[int, ...]) -> tuple[int, str]:
    """The largest number of filters with which every image is read once within the budget, and the reason."""
    assert facts.seconds is not None  # the caller asks only then
    budget = _SHARE * facts.seconds
    per_filter = _seconds_per_filter(facts, sizes)
    per_product, per_cube = _seconds_of_algebra()

    def seconds(filters: int) -> float:
        features = 12 * filters
        return facts.inputs * (per_filter * filters + per_product * features**2) + per_cube * features**3

    most = max((count for count in range(_FEWEST, _MOST + 1, 16) if seconds(count) <= budget), default=_FEWEST)
    if seconds(most) > budget:
        minutes = math.ceil(seconds(most) / _SHARE / 6) / 10
        raise UsageError(
            f"{facts.inputs:,} images need about {seconds(most):.0f} s with the fewest filters, "
            f"{max(0, facts.seconds):.0f} s are left\n"
            f"use --minutes {minutes:g} or fewer images"
        )
    return most, f"{facts.inputs:,} images take about {seconds(most):.0f} s, measured here"


def _seconds_per_filter(facts: DataFacts, sizes: tuple[int, ...]) -> float:
    """The seconds that one image takes for each filter of the larger working size, measured on noise."""
    filters = (_TRIAL_FILTERS, 2 * _TRIAL_FILTERS)
    settings = {"sizes": sizes, "filters": filters, "patch": 6, "grid": 2, "dimensions": 1, "mirror": True}
    network = PatchNetwork(EncoderSpec(Patches.encoder_name, facts.size, facts.channels, settings=settings))
    images = torch.rand(AT_ONCE, facts.channels, *facts.size)
    return _fastest(lambda: network.features(images)) / (len(images) * _TRIAL_FILTERS)


def _seconds_of_algebra() -> tuple[float, float]:
    """The seconds of a product of two features of one image, and of the components of F features over F cubed."""
    features = torch.rand(AT_ONCE, _TRIAL_FEATURES)
    covariance = features.T @ features
    product = _fastest(lambda: covariance.addmm_(features.T, features)) / (AT_ONCE * _TRIAL_FEATURES**2)
    return product, _PRODUCTS_OF_COMPONENTS * product


def _fastest(work: Callable[[], object], times: int = 3) -> float:
    """The seconds that the fastest of several calls takes; the first one also warms up."""
    seconds = []
    with torch.no_grad():
        for _ in range(times):
            began = time.perf_counter()
            work()
            seconds.append(time.perf_counter() - began)
    return min(seconds)


def _too_few(dimensions: int, images: int) -> DataError:
    return DataError(
        f"an embedding of {dimensions:,} numbers needs more images than that, {images:,} could be read\n"
        f"add images, or set method.dimensions={max(1, images - 1)}"
    )
