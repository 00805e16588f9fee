"""The scan of all inputs before training: the size and format of each, and the reason if it cannot be used.

Data that fits into memory is decoded here, once, and kept. Of larger data only the headers are read; an input that
turns out to be damaged later is replaced and listed by the loader.
"""

import math
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from selfstudy.data.names import printable
from selfstudy.data.workers import TIMEOUT_SECONDS, deaths_explained, start_worker
from selfstudy.errors import DataError
from selfstudy.images.cache import DecodedImages
from selfstudy.images.decode import BadInput, decode_with_format, header, shrunk, with_channels
from selfstudy.images.sources import Source, read_shrunk
from selfstudy.machine.processors import processors, usable_memory
from selfstudy.ops.pixels import as_float
from selfstudy.ops.random import permutation

_MIN_SIDE = 8
_FEW = 10  # this many bad inputs are allowed, even if their share is large
_MEASURED = 2000
_MANY = 2000  # number of inputs from which worker processes are worth their start
_MANY_LARGE = 32  # the same number for images that are shrunk, which take longer
_MOST_WORKERS = 8
_CHUNK = 256


class Verdict(NamedTuple):
    """The result of the scan for one input.

    Attributes:
        height: the height in pixels.
        width: the width in pixels.
        channels: the number of channels.
        format: the name of the file format, or ``array``.
        bytes: the size of the encoded file; 0 without one.
        reason: the reason if the input cannot be used; else empty.
        image: the decoded image (C, H, W) if it is kept, else None.
    """

    height: int
    width: int
    channels: int
    format: str
    bytes: int
    reason: str
    image: Any = None


class Scan(NamedTuple):
    """The data as training will use it.

    Attributes:
        verdicts: the result for each input, in order.
        ids: the id of each input.
        good: the numbers (N,) int64 of the usable inputs.
        sizes: the heights and widths (N, 2) int64 of the usable inputs.
        channels: the number of channels of every usable image.
        mean: the mean per channel, in [0, 1], over up to 2,000 images.
        std: the standard deviation per channel, in [0, 1], over the same images.
        images: the decoded images by position, or None if they do not fit into memory.
        warnings: sentences for the user.
        side: the shorter side in pixels that larger images are shrunk to when they are read; None for whole images.
    """

    verdicts: list[Verdict]
    ids: list[str]
    good: np.ndarray
    sizes: np.ndarray
    channels: int
    mean: list[float]
    std: list[float]
    images: DecodedImages | None
    warnings: list[str]
    side: int | None = None

    def write(self, path: Path) -> None:
        """Write ``inputs.parquet``: one row per input with id, size, format, verdict and reason."""
        columns = {
            "id": pa.array([printable(name) for name in self.ids], pa.string()),
            **{
                name: pa.array([getattr(verdict, name) for verdict in self.verdicts])
                for name in ("bytes", "format", "height", "width", "channels")
            },
            "verdict": pa.array(["skipped" if verdict.reason else "used" for verdict in self.verdicts]),
            "reason": pa.array([verdict.reason for verdict in self.verdicts]),
        }
        pq.write_table(pa.table(columns), path)

    def image(self, source: Source, position: int) -> Tensor:
        """The usable image (C, H, W) at a position, from memory if it is kept there.

        Raises:
            BadInput: it can no longer be read.
        """
        if self.images is not None:
            return self.images[position]
        return with_channels(read_shrunk(source, int(self.good[position]), self.side), self.channels)

    def subset(self, positions: np.ndarray) -> "Scan":
        """The scan of the usable images at ``positions`` (n,) int64."""
        images = None if self.images is None else self.images.subset(torch.from_numpy(positions))
        return self._replace(good=self.good[positions], sizes=self.sizes[positions], images=images)


class Data(NamedTuple):
    """Opened and scanned images."""

    source: Source
    scan: Scan


def scan(
    source: Source,
    *,
    channels: int | None = None,
    max_bad: float = 0.1,
    memory_bytes: int | None = None,
    side: int | None = None,
) -> Scan:
    """The scan of every input.

    Args:
        source: the inputs.
        channels: the number of channels that images must have; None takes the number that most images have.
        max_bad: the largest share of unusable inputs, in [0, 1]; a few are allowed in any case.
        memory_bytes: the memory for decoded images; None takes a quarter of what this process may use, 0 keeps none.
        side: the shorter side in pixels that larger images are shrunk to when they are read; None reads them whole.

    Raises:
        DataError: too many inputs cannot be used, or none can.
    """
    keep = _fits(source, usable_memory() // 4 if memory_bytes is None else memory_bytes, side)
    verdicts = _look(_Looks(source, keep, side))
    wanted = channels or _majority(verdicts)
    verdicts = [_with_channels(verdict, wanted) for verdict in verdicts]
    good = np.flatnonzero([not verdict.reason for verdict in verdicts])
    _require_enough(source, verdicts, len(good), max_bad)
    usable = [verdicts[i] for i in good]
    images = _as_images([v.image for v in usable if v.image is not None]) if keep else None
    mean, std = _measure(images or _Unkept(source, good, wanted, side), wanted)
    return Scan(
        verdicts=[verdict._replace(image=None) for verdict in verdicts],
        ids=list(source.ids),
        good=good,
        sizes=np.array([(v.height, v.width) for v in usable], dtype=np.int64),
        channels=wanted,
        mean=mean,
        std=std,
        images=images,
        warnings=source.warnings + _warnings(verdicts, usable),
        side=side,
    )


def _fits(source: Source, memory_bytes: int, side: int | None) -> bool:
    """True if all decoded images are likely to fit, judged from the headers of the first hundred."""
    if memory_bytes <= 0:
        return False
    sizes = []
    for index in range(min(len(source), 100)):
        verdict = look_at(source, index, keep=False)
        short = max(1, min(verdict.height, verdict.width))
        share = 1.0 if side is None else min(1.0, side / short) ** 2
        sizes.append(share * verdict.height * verdict.width * max(verdict.channels, 3))
    return len(source) * (sum(sizes) / max(len(sizes), 1)) * 2 <= memory_bytes


def _look(looks: "_Looks") -> list[Verdict]:
    """The verdict on every input, in order; many files are shared out among several processes."""
    # Only encoded files are sent to other processes: a user's Dataset may not survive a fork.
    count, many = len(looks), len(looks) >= (_MANY if looks.side is None else _MANY_LARGE)
    workers = min(processors(), _MOST_WORKERS) if many and _has_files(looks.source) else 0
    chunks = DataLoader(
        looks,
        batch_size=min(_CHUNK, math.ceil(count / (4 * workers))) if workers else _CHUNK,
        collate_fn=list,
        num_workers=workers,
        worker_init_fn=start_worker,
        timeout=TIMEOUT_SECONDS if workers else 0,
        generator=torch.Generator(),  # without one, the loader would draw from torch's global generator
    )
    with deaths_explained("close other programs, or train on fewer images"):
        found = [verdict for chunk in chunks for verdict in chunk]
    return [v if v.image is None else v._replace(image=torch.from_numpy(v.image)) for v in found]


def _has_files(source: Source) -> bool:
    """True if the source has encoded files."""
    try:
        return source.encoded(0) is not None
    except BadInput:
        return True


class _Looks(Dataset[Verdict]):
    """The verdict on each input by number; images are arrays, which are copied from process to process."""

    def __init__(self, source: Source, keep: bool, side: int | None) -> None:
        self.source, self.keep, self.side = source, keep, side

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Verdict:
        verdict = look_at(self.source, index, keep=self.keep, side=self.side)
        return verdict if verdict.image is None else verdict._replace(image=verdict.image.numpy())


def look_at(source: Source, index: int, *, keep: bool, side: int | None = None) -> Verdict:
    """The verdict on one input: it is decoded if the image is kept or has no file, else judged by the header.

    Args:
        source: the inputs.
        index: the number of the input.
        keep: True to keep the decoded image.
        side: the shorter side in pixels that a larger image is shrunk to; None keeps its size.
    """
    encoded, size = None, 0
    try:
        encoded = source.encoded(index)
        size = len(encoded or b"")
        if encoded is not None and not keep:
            kind, height, width, channels = header(encoded)
            return _checked(Verdict(height, width, channels, kind, size, ""))
        image, kind = (source.read(index), "array") if encoded is None else decode_with_format(encoded, side)
        channels, height, width = image.shape
        if encoded is not None and side is not None:
            _, height, width, _ = header(encoded)
        return _checked(Verdict(height, width, channels, kind, size, "", shrunk(image, side) if keep else None))
    except BadInput as error:
        return Verdict(0, 0, 0, "", size, str(error))


def _checked(verdict: Verdict) -> Verdict:
    if min(verdict.height, verdict.width) < _MIN_SIDE:
        # an array whose axes are in another order seems to have sides of 1 or 3
        hint = "; arrays are (N, H, W, C), tensors (N, C, H, W)" if verdict.format == "array" else ""
        reason = f"{verdict.height}x{verdict.width} pixels, at least {_MIN_SIDE} a side are needed{hint}"
        return verdict._replace(reason=reason, image=None)
    return verdict


def _majority(verdicts: Iterable[Verdict]) -> int:
    """The number of channels that most usable inputs have; of equally common numbers the largest; 0 without inputs."""
    counts = Counter(verdict.channels for verdict in verdicts if not verdict.reason)
    return max(counts, key=lambda channels: (counts[channels], channels)) if counts else 0


def _with_channels(verdict: Verdict, channels: int) -> Verdict:
    """The verdict for a given number of channels: gray images are repeated for three, others are not usable."""
    if verdict.reason or verdict.channels == channels:
        return verdict
    if verdict.channels == 1 and channels == 3:
        image = None if verdict.image is None else with_channels(verdict.image, 3)
        return verdict._replace(channels=3, image=image)
    return verdict._replace(reason=f"has {verdict.channels} channels, the run uses {channels}", image=None)


def _require_enough(source: Source, verdicts: list[Verdict], good: int, max_bad: float) -> None:
    """Raise if no input can be used, or too many cannot."""
    bad = [(source.ids[i], verdict.reason) for i, verdict in enumerate(verdicts) if verdict.reason]
    if good and not (len(bad) > _FEW and len(bad) > max_bad * len(verdicts)):
        return
    shown = "\n".join(f"  {printable(name)}: {reason}" for name, reason in bad[:10])
    more = f"\n  … and {len(bad) - 10} more" if len(bad) > 10 else ""
    hint = (
        f"\nrepair or remove them, or allow more with --set data.max_bad={len(bad) / len(verdicts):.2f}" if good else ""
    )
    raise DataError(f"{len(bad):,} of {len(verdicts):,} inputs cannot be used:\n{shown}{more}{hint}")


def _as_images(images: list[Tensor]) -> DecodedImages:
    """All images in one dtype: if some are float32, 8-bit images are scaled to [0, 1] and become float32."""
    if len({image.dtype for image in images}) > 1:
        images = [as_float(image) for image in images]
    return DecodedImages(images)


class _Unkept:
    """The usable images by position, read when they are asked for."""

    def __init__(self, source: Source, good: np.ndarray, channels: int, side: int | None) -> None:
        self._source, self._good, self._channels, self._side = source, good, channels, side

    def __len__(self) -> int:
        return len(self._good)

    def __getitem__(self, position: int) -> Tensor:
        return with_channels(read_shrunk(self._source, int(self._good[position]), self._side), self._channels)


def _measure(images: DecodedImages | _Unkept, channels: int) -> tuple[list[float], list[float]]:
    """The mean and standard deviation per channel over a fixed random subset, in which every image has equal weight."""
    total = torch.zeros(2, channels, dtype=torch.float64)
    count = 0
    for position in permutation(len(images), 0)[:_MEASURED].tolist():
        try:
            image = images[position]
        except BadInput:
            continue
        pixels = as_float(image).reshape(channels, -1).to(torch.float64)
        total += torch.stack([pixels.mean(1), pixels.square().mean(1)])
        count += 1
    mean, square = total / max(count, 1)
    std = (
        (square - mean.square()).clamp(min=0).sqrt().clamp(min=1e-3)
    )  # the std of a constant channel is 0, by which nothing can be divided
    return mean.tolist(), std.tolist()


def _warnings(verdicts: list[Verdict], usable: list[Verdict]) -> list[str]:
    """Sentences about inputs that were skipped, and about different sizes."""
    reasons = Counter(verdict.reason for verdict in verdicts if verdict.reason)
    lines = [f"skipped {count}: {reason}" for reason, count in reasons.most_common(5)]
    if sum(reasons.values()) > sum(count for _, count in reasons.most_common(5)):
        lines.append("… all are listed in inputs.parquet")
    shapes = {(verdict.height, verdict.width) for verdict in usable}
    if len(shapes) > 1:
        lines.append(f"{len(shapes)} different sizes; crops are cut from each at its own resolution")
    return lines
