"""The settings of an optimizer with nothing left to decide."""

from typing import Any, NamedTuple


class OptimizerSettings(NamedTuple):
    """The decided settings of the optimizer; :class:`selfstudy.config.OptimizerConfig` describes each."""

    name: str
    lr: float
    weight_decay: float
    momentum: float
    beta2: float
    warmup: float
    clip: float
    final_weight_decay: float | None = None
    bias_lr: float = 1.0
    layer_decay: float = 1.0
    decay_biases: bool = False
    warmup_from: float = 0.0
    schedule: str | dict[str, Any] = "cosine"
    final_lr: float = 0.0
    clip_by: str = "all"
