"""The shape of a :class:`selfstudy.encoders.patches.PatchNetwork` that a budget holds, by measurements here."""

import math
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

from selfstudy.encoders.patches import AT_ONCE, PatchNetwork, PatchSettings
from selfstudy.encoders.timm import EncoderSpec
from selfstudy.errors import UsageError

USUAL_FILTERS = 256
"""Filters at the largest working size of small images, where there is no budget in minutes."""
_MOST_FEATURES = 6_144  # their covariance takes 150 MB
_SMALL_SIDE = 40  # pixels; larger images are looked at in three sizes, others in two
_FEWEST, _STEP = 16, 16  # filters at the largest working size
_TRIAL_FILTERS, _TRIAL_FEATURES = 32, 1024
_PRODUCTS_OF_COMPONENTS = 20  # products of F x F matrices that take as long as the choice of the layout and the map
_SHARE = 0.8  # of the budget that measurements on noise may fill


class Job(NamedTuple):
    """Images to solve patches for.

    Attributes:
        inputs: the number of images.
        size: their (height, width) in pixels.
        channels: the number of their channels.
        seconds: the budget; None for no limit.
    """

    inputs: int
    size: tuple[int, int]
    channels: int
    seconds: float | None


class Shape(NamedTuple):
    """The working sizes in pixels, the number of filters at each, and the reason for the numbers."""

    sizes: tuple[int, ...]
    filters: tuple[int, ...]
    reason: str


def affordable_shape(job: Job) -> Shape:
    """The shape with the most filters with which every image is read once within the budget.

    Raises:
        UsageError: the budget does not suffice for the fewest filters.
    """
    sizes, parts = _working_sizes(max(job.size))
    most = int(_MOST_FEATURES / (_settings(sizes, parts, 2).features / 2)) // _STEP * _STEP
    count, why = min(most, USUAL_FILTERS), "the usual number"
    if job.seconds is not None:
        count, why = _affordable(job, sizes, parts, most)
    return Shape(sizes, tuple(count * part for part in parts), why)


def _working_sizes(side: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The working sizes for images of this longer side, and the numbers of filters for one at the largest."""
    if side > _SMALL_SIDE:
        return (side, round(side / 2), round(side / 4)), (1, 2, 2)
    return (side, round(side * 5 / 8)), (1, 2)


def _affordable(job: Job, sizes: Sequence[int], parts: Sequence[int], most: int) -> tuple[int, str]:
    """The largest number of filters at the largest working size, and the reason."""
    assert job.seconds is not None  # the caller asks only then
    budget = _SHARE * job.seconds
    per_filter, per_product = _seconds_per_filter(job, sizes, parts), _seconds_per_product()
    per_count = _settings(sizes, parts, 2).features / 2

    def seconds(count: int) -> float:
        features = per_count * count
        each = per_filter * count + per_product * features**2
        return job.inputs * each + _PRODUCTS_OF_COMPONENTS * per_product * features**3

    count = max((one for one in range(_FEWEST, most + 1, _STEP) if seconds(one) <= budget), default=_FEWEST)
    if seconds(count) > budget:
        minutes = math.ceil(seconds(count) / _SHARE / 6) / 10
        raise UsageError(
            f"{job.inputs:,} images need about {seconds(count):.0f} s with the fewest filters, "
            f"{max(0, job.seconds):.0f} s are left\nuse --minutes {minutes:g} or fewer images"
        )
    return count, f"{job.inputs:,} images take about {seconds(count):.0f} s, measured here"


def _settings(sizes: Sequence[int], parts: Sequence[int], count: int) -> PatchSettings:
    filters = tuple(count * part for part in parts)
    return PatchSettings(sizes=tuple(sizes), filters=filters, patch=6, grid=2, dimensions=1, mirror=True)


def _seconds_per_filter(job: Job, sizes: Sequence[int], parts: Sequence[int]) -> float:
    """The seconds that one image takes for each filter of the largest working size, measured on noise."""
    settings = _settings(sizes, parts, _TRIAL_FILTERS).model_dump()
    network = PatchNetwork(EncoderSpec("patches", job.size, job.channels, settings=settings))
    images = torch.rand(AT_ONCE, job.channels, *job.size)
    return _fastest(lambda: network.features(images)) / (len(images) * _TRIAL_FILTERS)


def _seconds_per_product() -> float:
    """The seconds of the product of two features of one image."""
    features = torch.rand(AT_ONCE, _TRIAL_FEATURES)
    covariance = features.T @ features
    return _fastest(lambda: covariance.addmm_(features.T, features)) / (AT_ONCE * _TRIAL_FEATURES**2)


def _fastest(work: Callable[[], object], times: int = 3) -> float:
    """The seconds that the fastest of several calls takes; the first one also warms up."""
    seconds = []
    with torch.no_grad():
        for _ in range(times):
            began = time.perf_counter()
            work()
            seconds.append(time.perf_counter() - began)
    return min(seconds)
