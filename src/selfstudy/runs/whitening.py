"""Whitening statistics of an encoder: the inputs that they are taken from, and the line that says so."""

import time
from collections.abc import Iterable
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor

from selfstudy.encoders.description import Description
from selfstudy.encoders.whitening import save_whitening
from selfstudy.errors import DataError
from selfstudy.ops.random import permutation
from selfstudy.ops.whitening import MOST_ROWS, fit_whitening

_AT_LEAST = 1_000
_SHARE = 4  # of the inputs that training saw, one in four at most: about a twentieth of its time
_STREAM = 0x776874


def sample(available: int, seen: int | None = None) -> list[int]:
    """The rising positions of the inputs that statistics are taken from, by a fixed permutation; at most 20,000.

    Args:
        available: the number of inputs.
        seen: the number of inputs that training saw, with repeats. The sample is at most a quarter of it, but 1,000 are
            always allowed. None if nothing was trained.

    >>> len(sample(50_000)), len(sample(50_000, 8_000)), len(sample(50_000, 64)), sample(3, 64)
    (20000, 2000, 1000, [0, 1, 2])
    """
    allowed = MOST_ROWS if seen is None else min(MOST_ROWS, max(_AT_LEAST, seen // _SHARE))
    positions: list[int] = permutation(available, _STREAM)[:allowed].sort().values.tolist()
    return positions


def add_whitening(
    embeddings: Iterable[Tensor], description: Path, model: type[Description], *, unit: str, console: Console
) -> int:
    """Fit statistics, write them into an ``encoder/`` folder, and print how many inputs they took; return that number.

    Args:
        embeddings: the embeddings (B, D) float32 of the inputs, batch by batch; they may be computed on demand.
        description: the file that describes the encoder.
        model: the closed model of this file.
        unit: the inputs in a word, such as ``"images"``.
        console: the console that shows the line.

    Raises:
        DataError: fewer than two inputs, or embeddings that are not finite, or all the same.
    """
    started, parts = time.perf_counter(), list(embeddings)
    found = torch.cat(parts) if parts else torch.zeros(0, 1)
    if len(found) < 2:
        raise DataError(f"whitening statistics need at least 2 {unit}, found {len(found)}\ngive more of them")
    if not bool(torch.isfinite(found).all()):
        raise DataError(f"whitening statistics need finite embeddings; some {unit} have others")
    whitening = fit_whitening(found)
    if not whitening.projection.shape[1]:
        raise DataError(f"whitening statistics need different embeddings; all {unit} have the same")
    save_whitening(whitening, description, model)
    seconds = time.perf_counter() - started
    console.print(f"whitening statistics of {len(found):,} {unit} in {seconds:.1f} s", highlight=False)
    return len(found)
