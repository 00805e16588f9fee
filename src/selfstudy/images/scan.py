"""Looks at every input before training: what it is, whether it can be used, and why not.

Data that fits in memory is decoded here once and kept; larger data is judged by its headers, and an input that turns
out to be damaged later is replaced and listed by the loader.
"""

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
from selfstudy.images.cache import Images
from selfstudy.images.decode import BadInput, decode_with_format, header, with_channels
from selfstudy.images.sources import Source
from selfstudy.machine.processors import processors, usable_memory
from selfstudy.ops.pixels import as_float
from selfstudy.ops.random import permutation

_MIN_SIDE = 8
_FEW = 10  # so many bad inputs never stop a run by themselves, whatever their share
_MEASURED = 2000
_MANY = 2000  # inputs from which worker processes repay their start
_MOST_WORKERS = 8
_CHUNK = 256


class Verdict(NamedTuple):
    """What the scan found out about one input."""

    height: int
    width: int
    channels: int
    format: str
    bytes: int
    reason: str  # empty when the input is usable
    image: Any = None  # the decoded Tensor (C, H, W) when it is kept


class Scan(NamedTuple):
    """The data as training will use it.

    Attributes:
        verdicts: one per input, in order.
        ids: of all inputs.
        good: (N,) int64 numbers of the usable inputs.
        sizes: (N, 2) int64 heights and widths of those.
        channels: that every usable image has.
        mean: per channel, in [0, 1], over up to 2,000 images; ``std`` likewise.
        images: the decoded images by position, or None when they do not fit in memory.
        warnings: what the user should know.
    """

    verdicts: list[Verdict]
    ids: list[str]
    good: np.ndarray
    sizes: np.ndarray
    channels: int
    mean: list[float]
    std: list[float]
    images: Images | None
    warnings: list[str]

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

    def subset(self, positions: np.ndarray) -> "Scan":
        """The scan of some of the usable images."""
        images = None if self.images is None else self.images.subset(torch.from_numpy(positions))
        return self._replace(good=self.good[positions], sizes=self.sizes[positions], images=images)


def scan(source: Source, *, channels: int | None = None, max_bad: float = 0.1, memory_bytes: int | None = None) -> Scan:
    """Look at every input.

    Args:
        source: the inputs.
        channels: that images must have; the majority decides when None.
        max_bad: share of unusable inputs above which to stop.
        memory_bytes: for decoded images; a quarter of what this process may use when None, 0 to keep none.

    Raises:
        DataError: too many unusable inputs, or none usable.
    """
    keep = _fits(source, usable_memory() // 4 if memory_bytes is None else memory_bytes)
    verdicts = _look(source, keep)
    wanted = channels or _majority(verdicts)
    verdicts = [_with_channels(verdict, wanted) for verdict in verdicts]
    good = np.flatnonzero([not verdict.reason for verdict in verdicts])
    _require_enough(source, verdicts, len(good), max_bad)
    usable = [verdicts[i] for i in good]
    images = _as_images([v.image for v in usable if v.image is not None]) if keep else None
    mean, std = _measure(source, good, images, wanted)
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
    )


def _fits(source: Source, memory_bytes: int) -> bool:
    """Whether all decoded images are likely to fit, judged from the first hundred."""
    if memory_bytes <= 0:
        return False
    sizes = []
    for index in range(min(len(source), 100)):
        verdict = _verdict(source, index, keep=False)
        sizes.append(verdict.height * verdict.width * max(verdict.channels, 3))
    return len(source) * (sum(sizes) / max(len(sizes), 1)) * 2 <= memory_bytes


def _look(source: Source, keep: bool) -> list[Verdict]:
    """Verdicts on every input, in order; many files are looked at by several processes."""
    # Only encoded files are worth sending to other processes; a user's Dataset may not survive a fork.
    workers = min(processors(), _MOST_WORKERS) if len(source) >= _MANY and _has_files(source) else 0
    chunks = DataLoader(
        _Looks(source, keep),
        batch_size=_CHUNK,
        collate_fn=list,
        num_workers=workers,
        worker_init_fn=start_worker,
        timeout=TIMEOUT_SECONDS if workers else 0,
        generator=torch.Generator(),  # else the loader would draw from torch's own
    )
    with deaths_explained("close other programs, or train on fewer images"):
        found = [verdict for chunk in chunks for verdict in chunk]
    return [v if v.image is None else v._replace(image=torch.from_numpy(v.image)) for v in found]


def _has_files(source: Source) -> bool:
    """Whether there are encoded files behind the images."""
    try:
        return source.encoded(0) is not None
    except BadInput:
        return True


class _Looks(Dataset[Verdict]):
    """Verdicts by number, their images as arrays, which cross processes by value."""

    def __init__(self, source: Source, keep: bool) -> None:
        self.source, self.keep = source, keep

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Verdict:
        verdict = _verdict(self.source, index, keep=self.keep)
        return verdict if verdict.image is None else verdict._replace(image=verdict.image.numpy())


def _verdict(source: Source, index: int, *, keep: bool) -> Verdict:
    """One input: decoded when the result is kept or there is no file, else judged by its header."""
    encoded, size = None, 0
    try:
        encoded = source.encoded(index)
        size = len(encoded or b"")
        if encoded is not None and not keep:
            kind, height, width, channels = header(encoded)
            return _checked(Verdict(height, width, channels, kind, size, ""))
        image, kind = (source.read(index), "array") if encoded is None else decode_with_format(encoded)
        channels, height, width = image.shape
        return _checked(Verdict(height, width, channels, kind, size, "", image if keep else None))
    except BadInput as error:
        return Verdict(0, 0, 0, "", size, str(error))


def _checked(verdict: Verdict) -> Verdict:
    if min(verdict.height, verdict.width) < _MIN_SIDE:
        # an array with its channels where its height is looked for has sides of 1 or 3
        hint = "; arrays are (N, H, W, C), tensors (N, C, H, W)" if verdict.format == "array" else ""
        reason = f"{verdict.height}x{verdict.width} pixels, at least {_MIN_SIDE} a side are needed{hint}"
        return verdict._replace(reason=reason, image=None)
    return verdict


def _majority(verdicts: Iterable[Verdict]) -> int:
    """The number of channels that most usable inputs have; the larger of two equally common ones."""
    counts = Counter(verdict.channels for verdict in verdicts if not verdict.reason)
    return max(counts, key=lambda channels: (counts[channels], channels)) if counts else 0


def _with_channels(verdict: Verdict, channels: int) -> Verdict:
    """The verdict under a fixed number of channels: gray is repeated for three, anything else is skipped."""
    if verdict.reason or verdict.channels == channels:
        return verdict
    if verdict.channels == 1 and channels == 3:
        image = None if verdict.image is None else with_channels(verdict.image, 3)
        return verdict._replace(channels=3, image=image)
    return verdict._replace(reason=f"has {verdict.channels} channels, the run uses {channels}", image=None)


def _require_enough(source: Source, verdicts: list[Verdict], good: int, max_bad: float) -> None:
    """Stop when nothing, or too little, can be used."""
    bad = [(source.ids[i], verdict.reason) for i, verdict in enumerate(verdicts) if verdict.reason]
    if good and not (len(bad) > _FEW and len(bad) > max_bad * len(verdicts)):
        return
    shown = "\n".join(f"  {printable(name)}: {reason}" for name, reason in bad[:10])
    more = f"\n  … and {len(bad) - 10} more" if len(bad) > 10 else ""
    hint = (
        f"\nmend or remove them, or allow more with --set data.max_bad={len(bad) / len(verdicts):.2f}" if good else ""
    )
    raise DataError(f"{len(bad):,} of {len(verdicts):,} inputs cannot be used:\n{shown}{more}{hint}")


def _as_images(images: list[Tensor]) -> Images:
    """All images, as float32 when some are: 8-bit ones are then scaled to [0, 1] like the others."""
    if len({image.dtype for image in images}) > 1:
        images = [as_float(image) for image in images]
    return Images(images)


def _measure(source: Source, good: np.ndarray, images: Images | None, channels: int) -> tuple[list[float], list[float]]:
    """Mean and standard deviation per channel over a fixed random subset, every pixel of an image weighing the same."""
    total = torch.zeros(2, channels, dtype=torch.float64)
    count = 0
    for position in permutation(len(good), 0)[:_MEASURED].tolist():
        try:
            image = (
                images[position] if images is not None else with_channels(source.read(int(good[position])), channels)
            )
        except BadInput:
            continue
        pixels = as_float(image).reshape(channels, -1).to(torch.float64)
        total += torch.stack([pixels.mean(1), pixels.square().mean(1)])
        count += 1
    mean, square = total / max(count, 1)
    std = (square - mean.square()).clamp(min=0).sqrt().clamp(min=1e-3)  # a constant channel must not divide by zero
    return mean.tolist(), std.tolist()


def _warnings(verdicts: list[Verdict], usable: list[Verdict]) -> list[str]:
    """Sentences on what was skipped or is unusual."""
    reasons = Counter(verdict.reason for verdict in verdicts if verdict.reason)
    lines = [f"skipped {count}: {reason}" for reason, count in reasons.most_common(5)]
    if sum(reasons.values()) > sum(count for _, count in reasons.most_common(5)):
        lines.append("… all are listed in inputs.parquet")
    shapes = {(verdict.height, verdict.width) for verdict in usable}
    if len(shapes) > 1:
        lines.append(f"{len(shapes)} different sizes; crops are cut from each at its own resolution")
    return lines
