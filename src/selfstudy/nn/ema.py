"""The teacher: a slowly moving average of a network, which can only begin as its copy."""

import copy
from typing import Any

import torch
from timm.layers import DropPath
from torch import nn


class EMA(nn.Module):
    """An exponential moving average of ``source``, without gradients.

    Parameters are averaged; buffers (BatchNorm statistics and counters) are copied, because averaging a running
    average again, or an integer counter, means nothing.

    Args:
        source: the network to begin as and to follow.
        train_mode: whether the teacher is in train mode when the method is (DINO, MoCo); otherwise it stays in eval.
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
        """Set the mode, staying in eval when the teacher is to."""
        super().train(mode)
        self.module.train(mode and self._train_mode)
        return self

    @torch.no_grad()
    def forward(self, *args: Any) -> Any:
        """The averaged network's output, without gradient."""
        return self.module(*args)

    @torch.no_grad()
    def move_toward(self, source: nn.Module, momentum: float) -> None:
        """``teacher = momentum x teacher + (1 - momentum) x source``; call once per optimizer step."""
        torch._foreach_lerp_(list(self.module.parameters()), [p.detach() for p in source.parameters()], 1 - momentum)
        if not self._train_mode:  # a teacher in train mode keeps statistics of its own
            for mine, theirs in zip(self.module.buffers(), source.buffers(), strict=True):
                mine.copy_(theirs)
