"""A configuration in which every setting is decided; training reads its settings from it."""

from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from selfstudy.config import RunConfig, validate
from selfstudy.methods.base import Method, MethodConfig
from selfstudy.methods.solved import SolvedMethod
from selfstudy.ops.duration import Duration
from selfstudy.optim.settings import OptimizerSettings

I = TypeVar("I", covariant=True)  # noqa: E741 - the inputs: the decisions of one modality about its data and its encoder
T = TypeVar("T")


class TrainSettings(NamedTuple):
    """The decided settings of training; :class:`selfstudy.config.TrainConfig` describes each."""

    duration: Duration
    batch_size: int
    accumulate: int
    precision: str
    compile: bool
    device: str
    devices: int
    workers: int
    seed: int
    checkpoint_every: Duration
    keep: int
    log_every: int


@dataclass(frozen=True)
class Resolved(Generic[I]):
    """A configuration without ``auto``, its typed values, and the reasons of the derived ones.

    Attributes:
        config: the complete configuration, which is written to ``config.yaml``.
        reasons: the reason of each derived setting, by dotted key.
        method: the class of the pretext task.
        settings: the method's own settings.
        inputs: the decisions of the modality: the shape of an input, the views, the encoder.
        optimizer: the settings of the optimizer; a solved method uses none of them.
        train: the settings of training, such as duration, batch size and device.
        notes: lines for the user: what was measured to decide, and the price of the decision.
    """

    config: RunConfig
    reasons: dict[str, str]
    method: type[Method]
    settings: MethodConfig
    inputs: I
    optimizer: OptimizerSettings
    train: TrainSettings
    notes: tuple[str, ...] = ()


def resolved(
    config: RunConfig, method: type[Method], inputs: T, *, reasons: dict[str, str] | None = None
) -> Resolved[T]:
    """The typed values of a configuration in which everything is decided.

    Args:
        config: the configuration; its settings of optimizer and training have no ``auto``.
        method: the class that ``config.method`` names.
        inputs: the decisions of the modality.
        reasons: the reason of each derived setting, by dotted key.

    Raises:
        UsageError: a setting that the method does not have, or a value that it does not allow.
        ValueError: a setting is still ``auto``.
    """
    optimizer, train = config.optimizer.model_dump(), config.train.model_dump()
    used = train if issubclass(method, SolvedMethod) else optimizer | train
    if undecided := [key for key, value in used.items() if value == "auto"]:
        raise ValueError(f"these settings are not decided: {', '.join(undecided)}")
    train |= {name: Duration.parse(train[name]) for name in ("duration", "checkpoint_every")}
    return Resolved(
        config,
        reasons or {},
        method,
        own_settings(method, config),
        inputs,
        OptimizerSettings(**optimizer),
        TrainSettings(**train),
    )


def own_settings(method: type[Method], config: RunConfig) -> MethodConfig:
    """The method's own settings in a configuration, validated.

    Raises:
        UsageError: a setting that the method does not have, or a value that it does not allow.
    """
    given = {key: value for key, value in config.method.items() if key != "name"}
    settings: MethodConfig = validate(method.Config, given, "method")
    return settings
