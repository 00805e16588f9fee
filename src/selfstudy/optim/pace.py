"""The pace of training: learning rate and weight decay of every parameter group, at any progress."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from selfstudy.ops.schedules import Cosine, Curve, Progress, Schedule
from selfstudy.optim.groups import ParameterGroup
from selfstudy.optim.settings import OptimizerSettings
from selfstudy.optim.shapes import shape_of


@dataclass(frozen=True)
class Pace:
    """The learning rate and the weight decay of every parameter group, at any progress.

    Attributes:
        groups: the groups, in the order in which the optimizer has them.
        learning_rate: the learning rate of a group with factor 1.
        peak: the learning rate of a group that stays at its peak.
        weight_decay: the weight decay of the groups that have any.
    """

    groups: Sequence[ParameterGroup]
    learning_rate: Schedule
    peak: float
    weight_decay: Schedule

    @classmethod
    def of(cls, groups: Sequence[ParameterGroup], settings: OptimizerSettings) -> "Pace":
        """Return the pace that the settings of an optimizer ask for."""
        rate = Curve(
            settings.lr,
            settings.lr * settings.final_lr,
            settings.warmup,
            warmup_from=settings.warmup_from,
            shape=shape_of(settings.schedule),
        )
        decay, last = settings.weight_decay, settings.final_weight_decay
        return cls(groups, rate, settings.lr, Cosine(decay, decay if last is None else last))

    def set(self, optimizer: torch.optim.Optimizer, progress: Progress) -> float:
        """Give every group of the optimizer its values for this progress; return the learning rate."""
        rate, decay = self.learning_rate(progress), self.weight_decay(progress)
        for target, group in zip(optimizer.param_groups, self.groups, strict=True):
            target["lr"] = (self.peak if group.constant else rate) * group.rate
            target["weight_decay"] = decay if group.decays else 0.0
        return rate
