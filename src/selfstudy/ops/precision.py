"""Losses in full precision, independent of the precision of the forward pass."""

import functools
from collections.abc import Callable
from typing import Any, ParamSpec

import torch
from torch import Tensor

P = ParamSpec("P")


def full_precision(loss: Callable[P, Tensor]) -> Callable[P, Tensor]:
    """Decorate a loss: its tensors become float32 (float64 stays), and its body runs without autocast.

    Softmax, logarithms, covariances and normalisation lose too much in bfloat16, and under autocast a matrix product
    returns to bfloat16 even from float32 inputs.
    """

    @functools.wraps(loss)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> Tensor:
        device = next(value.device.type for value in (*args, *kwargs.values()) if isinstance(value, Tensor))
        with torch.autocast(device, enabled=False):
            return loss(*map(_full, args), **{name: _full(value) for name, value in kwargs.items()})

    return wrapped


def _full(value: Any) -> Any:
    """Half-precision tensors as float32; everything else as it is."""
    half = isinstance(value, Tensor) and value.dtype in (torch.bfloat16, torch.float16)
    return value.float() if half else value
