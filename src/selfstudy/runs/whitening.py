"""Whitening statistics of an encoder: the inputs that they are taken from, and the line that says so."""

import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import torch
from rich.console import Console
from torch import Tensor

from selfstudy.encoders.description import Description
from selfstudy.encoders.whitening import save_whitening
from selfstudy.errors import DataError
from selfstudy.ops.duration import Duration
from selfstudy.ops.random import permutation
from selfstudy.ops.whitening import MOST_ROWS, fit_whitening

_AT_LEAST = 1_000
_SHARE = 8  # of the inputs that training saw, one in eight at most: a few hundredths of its time
_BUDGET = 0.05  # of a budget in minutes
_STREAM = 0x776874


class Allowance(NamedTuple):
    """The largest cost of statistics.

    Attributes:
        inputs: the largest number of inputs.
        seconds: no new batch begins after this time; None for no limit.
    """

    inputs: int = MOST_ROWS
    seconds: float | None = None


def allowance(duration: Duration, seen: int) -> Allowance:
    """The largest cost of statistics at the end of a run: a share of the budget, or of the number of inputs it saw.

    Args:
        duration: the length of training. A budget in minutes bounds the time. Any other bounds the number of inputs,
            which makes the statistics the same on every machine.
        seen: the number of inputs that training saw, with repeats.

    >>> allowance(Duration.parse("2 minutes"), 50_000)
    Allowance(inputs=20000, seconds=6.0)
    >>> allowance(Duration.parse("10 epochs"), 50_000).inputs, allowance(Duration.parse("4 steps"), 64).inputs
    (6250, 1000)
    """
    if duration.unit == "minutes":
        return Allowance(seconds=60 * duration.amount * _BUDGET)
    return Allowance(min(MOST_ROWS, max(_AT_LEAST, seen // _SHARE)))


def sample(available: int, at_most: int = MOST_ROWS) -> list[int]:
    """The positions of the inputs that statistics are taken from, in the order of a fixed permutation.

    >>> len(sample(50_000)), len(sample(50_000, 64)), sorted(sample(3, 64))
    (20000, 64, [0, 1, 2])
    """
    positions: list[int] = permutation(available, _STREAM)[:at_most].tolist()
    return positions


def add_whitening(
    embeddings: Iterable[Tensor],
    description: Path,
    model: type[Description],
    *,
    seconds: float | None = None,
    unit: str,
    console: Console,
) -> int:
    """Fit statistics, write them into an ``encoder/`` folder, and print how many inputs they took; return that number.

    Args:
        embeddings: the embeddings (B, D) float32 of the inputs, batch by batch; they may be computed on demand.
        description: the file that describes the encoder.
        model: the closed model of this file.
        seconds: no new batch is asked for after this time; None for no limit.
        unit: the inputs in a word, such as ``"images"``.
        console: the console that shows the line.

    Raises:
        DataError: fewer than two inputs, or embeddings that are not finite, or all the same.
    """
    started, parts = time.perf_counter(), []
    for part in embeddings:
        parts.append(part)
        if seconds is not None and time.perf_counter() - started > seconds:
            break
    found = torch.cat(parts) if parts else torch.zeros(0, 1)
    if len(found) < 2:
        raise DataError(f"whitening statistics need at least 2 {unit}, found {len(found)}\ngive more of them")
    if not bool(torch.isfinite(found).all()):
        raise DataError(f"whitening statistics need finite embeddings; some {unit} have others")
    whitening = fit_whitening(found)
    if not whitening.projection.shape[1]:
        raise DataError(f"whitening statistics need different embeddings; all {unit} have the same")
    save_whitening(whitening, description, model)
    spent = time.perf_counter() - started
    console.print(f"whitening statistics of {len(found):,} {unit} in {spent:.1f} s", highlight=False)
    return len(found)
