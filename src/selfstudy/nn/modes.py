"""Training and evaluation mode of networks."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Put every submodule into evaluation mode inside the block, then restore the mode that each one had.

    ``module.eval()`` and ``module.train()`` are not enough: the second would wake parts that are kept in evaluation
    mode on purpose, such as a frozen BatchNorm.
    """
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training
