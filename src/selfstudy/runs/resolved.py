"""A run with every setting decided: what resolving a configuration returns, and all that training reads."""

from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from selfstudy.config import RunConfig, validate
from selfstudy.methods.base import Method, MethodConfig
from selfstudy.ops.duration import Duration
from selfstudy.optim.settings import OptimizerSettings

I = TypeVar("I")  # noqa: E741 - the inputs: what one modality decides about its data and its encoder


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
    """A configuration without ``auto``, the typed values it stands for, and the reason for each derived one.

    Attributes:
        config: the complete configuration, as ``config.yaml`` holds it.
        reasons: why each derived setting has its value, by dotted key.
        method: the class of the pretext task.
        settings: the method's own settings.
        inputs: what the modality decided: the shape of an input, the views, the encoder.
        optimizer: how the weights move.
        train: how long, how large, on what.
    """

    config: RunConfig
    reasons: dict[str, str]
    method: type[Method]
    settings: MethodConfig
    inputs: I
    optimizer: OptimizerSettings
    train: TrainSettings


def resolved(
    config: RunConfig, method: type[Method], inputs: I, *, reasons: dict[str, str] | None = None
) -> Resolved[I]:
    """The typed value of a configuration in which everything is decided.

    Args:
        config: nothing in its optimizer and training settings is ``auto``.
        method: the class that ``config.method`` names.
        inputs: what the modality decided.
        reasons: by dotted key.

    Raises:
        UsageError: a setting that the method does not have, or a value that it does not allow.
        ValueError: a setting is still ``auto``.
    """
    optimizer, train = config.optimizer.model_dump(), config.train.model_dump()
    if undecided := [key for key, value in (optimizer | train).items() if value == "auto"]:
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
