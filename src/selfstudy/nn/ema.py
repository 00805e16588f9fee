"""The moving average of a network, which can only begin as its copy."""

import copy
from typing import Any

import torch
from timm.layers import DropPath
from torch import nn


class EMA(nn.Module):
    """The exponential moving average of a network, without gradients.

    Parameters are averaged. Buffers (BatchNorm statistics and counters) are copied, because the average of a running
    average, or of an integer counter, means nothing.

    Args:
        source: the network to copy at the start.
        train_mode: True if the average is in train mode whenever the method is (DINO, MoCo); False if it stays in eval
            mode.
    """

    def __init__(self, source: nn.Module, *, train_mode: bool) -> None:
        super().__init__()
        self.module = copy.deepcopy(source).requires_grad_(False)
        for part in self.module.modules():
            if isinstance(part, DropPath):  # only the student skips blocks, as in DINO's and iBOT's code
                part.drop_prob = 0.0
        self._train_mode = train_mode
        self.train()

    def train(self, mode: bool = True) -> "EMA":
        """Set the mode; without ``train_mode`` the averaged network stays in eval mode."""
        super().train(mode)
        self.module.train(mode and self._train_mode)
        return self

    @torch.no_grad()
    def forward(self, *args: Any) -> Any:
        """Return the averaged network's output, without gradient."""
        return self.module(*args)

    @torch.no_grad()
    def move_toward(self, source: nn.Module, momentum: float) -> None:
        """Set each parameter to ``momentum x average + (1 - momentum) x source``; call once per optimizer step.

        Args:
            source: a network with the same parameters in the same order.
            momentum: the fraction of the average that is kept, in [0, 1].
        """
        torch._foreach_lerp_(list(self.module.parameters()), [p.detach() for p in source.parameters()], 1 - momentum)
        if not self._train_mode:  # in train mode the average has statistics of its own
            for mine, theirs in zip(self.module.buffers(), source.buffers(), strict=True):
                mine.copy_(theirs)
