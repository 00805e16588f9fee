"""A first look at images: a few of them, evenly spaced, which are read before all others to plan the run."""

import math
import time
from functools import partial
from typing import NamedTuple

import numpy as np
import torch

from selfstudy.images.cache import DecodedImages
from selfstudy.images.decode import shrunk
from selfstudy.images.scan import Scan, look_at, scan
from selfstudy.images.sources import Some, Source
from selfstudy.views.spec import Spec, View, one_each

_LOOKED_AT = 64  # images
_PIXELS = 100_000_000  # pixels of the images that are read, about one second
_FEWEST = 8


class Glance(NamedTuple):
    """A few of the images.

    Attributes:
        source: the part of the source that was read.
        scan: the scan of this part, with the images in memory.
        seconds: the time to read and decode one image.
    """

    source: Source
    scan: Scan
    seconds: float

    def of_size(self, side: int | None, count: int) -> tuple[Source, Scan]:
        """``count`` of the images, the same ones repeatedly if there are fewer, shrunk to a shorter side."""
        assert self.scan.images is not None  # a glance keeps its images
        small = DecodedImages([shrunk(self.scan.images[i], side) for i in range(len(self.scan.images))])
        found = self.scan._replace(images=small)
        return self.source, found.subset(torch.arange(count).remainder(len(small)).numpy())


def glance(source: Source, *, channels: int | None, side: int | None) -> Glance:
    """A look at up to 64 of the images; at fewer if they are large.

    Args:
        source: the images.
        channels: the number of channels that images must have; None takes the number that most images have.
        side: the shorter side in pixels that larger images are shrunk to.

    Raises:
        DataError: none of them can be used.
    """
    pixels = float(header_sizes(source, 16).prod(axis=1).mean())
    part = _spread(source, max(_FEWEST, min(_LOOKED_AT, int(_PIXELS / pixels))))
    began = time.perf_counter()
    found = scan(part, channels=channels, max_bad=1.0, memory_bytes=2**62, side=side)
    return Glance(part, found, (time.perf_counter() - began) / len(part))


def header_sizes(source: Source, count: int = _LOOKED_AT) -> np.ndarray:
    """The heights and widths (n, 2) int64 of up to ``count`` images, by their headers; (1, 1) if none can be read."""
    part = _spread(source, count)
    sizes = [(seen.height, seen.width) for seen in map(partial(look_at, part, keep=False), range(len(part)))]
    return np.array([size for size in sizes if min(size)] or [(1, 1)], dtype=np.int64)


def _spread(source: Source, count: int) -> Some:
    """Up to ``count`` images of a source, at equal distances: folders are sorted by class."""
    step = max(1.0, len(source) / count)
    return Some(source, [int(i * step) for i in range(min(count, len(source)))])


def side_for(specs: list[Spec]) -> int:
    """The shorter side in pixels of images from which no crop for these views has fewer pixels than the view."""
    views = [spec for spec in one_each(specs) if isinstance(spec, View)]
    return max((math.ceil(min(view.size) / math.sqrt(view.scale[0])) for view in views), default=8)
