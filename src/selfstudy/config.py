"""The settings that runs of every modality have, as closed pydantic models; YAML, dotted overrides, durations.

A modality adds its own settings in ``config.py`` of its folder, as a subclass of :class:`RunConfig`. Most fields may be
left at ``auto``; :mod:`selfstudy.runs.draft` replaces each ``auto`` by a value and keeps the reason. Does not import
torch.
"""

import math
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from selfstudy.errors import FileRefusedError, UsageError, did_you_mean

Auto = Literal["auto"]
Count = Annotated[int, Field(ge=1)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
# Two numbers: the ends of a range, or the first and the last value of a schedule.
Shares = tuple[Share, Share]
Positives = tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]]
T = TypeVar("T")
Model = TypeVar("Model", bound=BaseModel)
DEFAULT_METHOD = "simclr"
_MAX_YAML_BYTES = 1_000_000
_UNITS = {"step": "steps", "epoch": "epochs", "minute": "minutes", "sample": "samples", "%": "%"}


class Duration(NamedTuple):
    """An amount of training: ``"10 epochs"``, ``"500 steps"``, ``"5 minutes"``, ``"100000 samples"``, ``"5 %"``."""

    amount: float
    unit: str

    @classmethod
    def parse(cls, text: str) -> "Duration":
        """The duration written as number and unit.

        Raises:
            UsageError: not a positive number followed by a known unit.

        >>> Duration.parse("10 epochs")
        Duration(amount=10.0, unit='epochs')
        """
        number, _, unit = text.strip().replace("%", " %").partition(" ")
        unit = _UNITS.get(unit.strip().removesuffix("s") or "", "")
        try:
            amount = float(number)
        except ValueError:
            amount = math.nan
        if not unit or not amount > 0 or math.isinf(amount):
            raise UsageError(
                f"duration {text!r} is not a positive number and a unit\n"
                "write '10 epochs', '500 steps', '5 minutes' or '100000 samples'"
            )
        return cls(amount, unit)

    def __str__(self) -> str:
        """The text that :meth:`parse` reads."""
        return f"{int(self.amount) if self.amount.is_integer() else self.amount} {self.unit}"

    def steps(self, *, steps_per_epoch: int, batch_size: int, total: int | None = None) -> int | None:
        """Optimizer steps, at least 1; None for minutes, whose number of steps is known only afterwards."""
        each = {"steps": 1.0, "epochs": steps_per_epoch, "samples": 1 / batch_size, "%": (total or 0) / 100}
        return max(1, round(self.amount * each[self.unit])) if self.unit in each else None


class Closed(BaseModel):
    """A frozen model that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class DataConfig(Closed):
    """The data to learn from. Each modality adds settings of its own in a subclass."""

    path: str
    modality: Annotated[str, Field(description="kind of data; auto: the one that the method learns from")] = "auto"


class EncoderConfig(Closed):
    """The network that is trained. Each modality adds settings of its own in a subclass."""

    name: str = "auto"


class OptimizerConfig(Closed):
    """How the weights move. ``warmup`` is a fraction of training."""

    name: Literal["auto", "adamw", "sgd", "lars", "larc"] = "auto"
    lr: Annotated[Auto | float, Field(description="peak learning rate, for the whole batch")] = "auto"
    bias_lr: Annotated[NotNegative, Field(description="learning rate of biases and norms, as a fraction of lr")] = 1.0
    layer_decay: Annotated[
        float,
        Field(gt=0, le=1, description="factor of the encoder's learning rate per layer, from the last one on"),
    ] = 1.0
    weight_decay: Auto | NotNegative = "auto"
    final_weight_decay: Annotated[
        NotNegative | None, Field(description="weight decay at the end, along a cosine; null: it is constant")
    ] = None
    decay_biases: Annotated[bool, Field(description="let biases and norms decay as well")] = False
    momentum: Annotated[Auto | float, Field(description="of sgd and lars; adamw has no use for it")] = "auto"
    beta2: Annotated[Auto | float, Field(description="of adamw alone: what is kept of squared gradients per step")] = (
        "auto"
    )
    warmup: Auto | float = "auto"
    warmup_from: Annotated[Share, Field(description="fraction of lr that the warm-up starts from")] = 0.0
    schedule: Annotated[
        str | dict[str, Any],
        Field(description="learning rate after the warm-up: the name of a shape, or {name: wsd, decay: 0.1}"),
    ] = "cosine"
    final_lr: Annotated[Share, Field(description="learning rate at the end, as a fraction of lr")] = 0.0
    clip: Annotated[Auto | NotNegative, Field(description="largest gradient norm; 0 for none")] = "auto"
    clip_by: Annotated[
        Literal["all", "each"], Field(description="clip by the norm of all gradients together, or each by its own")
    ] = "all"

    @field_validator("lr")
    @classmethod
    def _is_positive(cls, value: Auto | float) -> Auto | float:
        if value != "auto" and not 0 < value < math.inf:
            raise UsageError(f"optimizer.lr={value:g} would train nothing\nset a number above 0")
        return value

    @field_validator("momentum", "beta2", "warmup")
    @classmethod
    def _is_fraction(cls, value: Auto | float, info: ValidationInfo) -> Auto | float:
        if value != "auto" and not 0 <= value < 1:
            hint = "; for a number of steps divide it by those of the run" if info.field_name == "warmup" else ""
            raise UsageError(f"optimizer.{info.field_name}={value:g}\nset a fraction, at least 0 and below 1{hint}")
        return value


class TrainConfig(Closed):
    """How long, how large, on what."""

    duration: str = "auto"
    batch_size: Annotated[Auto | int, Field(description="images per optimizer step, over all processes")] = "auto"
    accumulate: Annotated[Auto | Count, Field(description="micro-batches per step")] = "auto"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    compile: Annotated[Auto | bool, Field(description="torch.compile the encoder's layers")] = "auto"
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    devices: Annotated[int, Field(ge=1, description="processes, one per device, that share every batch")] = 1
    workers: Annotated[Auto | Annotated[int, Field(ge=0)], Field(description="decoding processes")] = "auto"
    seed: Annotated[int, Field(ge=0)] = 0
    checkpoint_every: str = "2 minutes"
    keep: Annotated[int, Field(ge=2, description="checkpoints kept")] = 2
    log_every: Annotated[int, Field(ge=1, description="steps")] = 10

    @field_validator("duration")
    @classmethod
    def _is_no_share(cls, text: str) -> str:
        if text == "auto":
            return text
        duration = Duration.parse(text)
        if duration.unit == "%":
            raise UsageError(
                f"train.duration={text!r} is a share of itself\nwrite '10 epochs', '500 steps' or the like"
            )
        return str(duration)

    @field_validator("checkpoint_every")
    @classmethod
    def _is_duration(cls, text: str) -> str:
        return str(Duration.parse(text))


class HealthConfig(Closed):
    """The label-free check of the representation while it is trained."""

    every: Annotated[int, Field(ge=1, description="steps between readings")] = 50
    on_collapse: Annotated[
        Literal["warn", "stop"],
        Field(description="stop ends the run, in the first tenth of it only at NaN or infinity"),
    ] = "warn"


class RunConfig(Closed):
    """All settings of a run. Each modality has a subclass with its own ``data`` and ``encoder``.

    ``method`` holds ``name`` and the method's own settings.
    """

    data: DataConfig
    method: dict[str, Any] = Field(default_factory=dict, validate_default=True)
    encoder: EncoderConfig = EncoderConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    train: TrainConfig = TrainConfig()
    health: HealthConfig = HealthConfig()

    @field_validator("method")
    @classmethod
    def _has_a_name(cls, method: dict[str, Any]) -> dict[str, Any]:
        return {"name": DEFAULT_METHOD} | method


def settled(value: T | Auto) -> T:
    """A setting as :mod:`selfstudy.runs.draft` leaves it: no longer ``auto``."""
    if value == "auto":
        raise ValueError("a setting is used before it was resolved")
    return value


def validate(model: type[Model], settings: Mapping[str, Any], prefix: str = "") -> Model:
    """``model(**settings)``, with one readable line for each of pydantic's complaints.

    Args:
        model: the model of one group of settings, or the :class:`RunConfig` of a modality.
        settings: the values by name; nested where the model is.
        prefix: the name of the group that ``model`` describes, for error messages; empty for a whole run.

    Raises:
        UsageError: an unknown key (with the nearest known one) or a value that is not allowed.
    """
    try:
        return model.model_validate(dict(settings))
    except ValidationError as error:
        raise UsageError("\n".join(dict.fromkeys(_complaint(model, item, prefix) for item in error.errors()))) from None


def _complaint(model: type[BaseModel], item: Any, prefix: str) -> str:
    """One line for one pydantic error."""
    path = [str(part) for part in item["loc"]]
    if item["type"] == "extra_forbidden":
        siblings = _fields(model, path[:-1])
        where = ".".join([part for part in [prefix, *path[:-1]] if part])
        known = ", ".join(siblings)
        given = ".".join([part for part in [where, path[-1]] if part])
        return f"unknown setting {given!r}{did_you_mean(path[-1], siblings)}\nknown there: {known}"
    names = [part for part in path if not part[:1].isupper() and "[" not in part and part not in _TYPE_TAGS]
    key = ".".join([part for part in [prefix, *names] if part])
    return f"setting {key!r}: got {item['input']!r}; {item['msg'][:1].lower()}{item['msg'][1:]}"


_TYPE_TAGS = {"int", "float", "str", "bool", "literal", "constrained-int", "constrained-float"}


def _fields(model: type[BaseModel], path: Iterable[str]) -> list[str]:
    """Names of the fields at a path inside a model."""
    for part in path:
        annotation = model.model_fields[part].annotation
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        model = annotation
    return list(model.model_fields)


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The settings in a YAML file: plain mappings, no tags, at most 1 MB.

    Raises:
        UsageError: the file does not exist.
        FileRefusedError: it is too large, not YAML, or not a mapping.
    """
    path = Path(path)
    if not path.is_file():
        raise UsageError(f"configuration file {str(path)!r} does not exist")
    if path.stat().st_size > _MAX_YAML_BYTES:
        raise FileRefusedError(f"{path}: a configuration of more than 1 MB is refused")
    try:
        loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise FileRefusedError(f"{path}: not readable as plain YAML: {' '.join(str(error).split())[:200]}") from None
    if not isinstance(loaded, dict):
        raise FileRefusedError(f"{path}: holds {type(loaded).__name__}, a mapping of settings is needed")
    return loaded


def with_overrides(settings: Mapping[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """A copy of nested settings with ``"method.temperature=0.2"`` and the like applied, in order.

    Raises:
        UsageError: an override that is not ``dotted.key=value``.
    """
    result = _deep_copy(settings)
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise UsageError(f"--set {text!r} is not of the form key=value, such as method.temperature=0.2")
        set_key(result, key.strip(), _scalar(text, value))
    return result


def set_key(settings: dict[str, Any], dotted: str, value: Any) -> None:
    """Put ``value`` at a dotted key of nested settings, making the levels it needs."""
    *parents, last = dotted.split(".")
    for parent in parents:
        settings = settings.setdefault(parent, {})
        if not isinstance(settings, dict):
            raise UsageError(f"setting {dotted!r}: {parent!r} holds a value, not a group of settings")
    settings[last] = value


def _scalar(text: str, value: str) -> Any:
    """The value as YAML reads it, with 1e-4 understood as a number."""
    if "e" in value.lower():
        with suppress(ValueError):
            return float(value)
    try:
        return yaml.safe_load(value)
    except yaml.YAMLError:
        raise UsageError(f"--set {text!r}: the value is not readable as YAML") from None


def _deep_copy(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _deep_copy(value) if isinstance(value, Mapping) else value for key, value in settings.items()}


def flatten(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as ``{"train.seed": 0, ...}``."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        name = f"{prefix}{key}"
        flat.update(flatten(value, f"{name}.") if isinstance(value, Mapping) else {name: value})
    return flat


def to_yaml(config: RunConfig, reasons: Mapping[str, str]) -> str:
    """The configuration as YAML; the reason of each derived value is a comment after it."""
    lines: list[str] = []
    for group, values in config.model_dump(mode="json").items():
        lines.append(f"{group}:")
        for key, value in values.items():
            text = yaml.safe_dump(value, default_flow_style=True, width=10_000).removesuffix("\n...\n").strip()
            reason = reasons.get(f"{group}.{key}", "").replace("\n", " ")
            lines.append(f"  {key}: {text}" + (f"  # {reason}" if reason else ""))
    return "\n".join(lines) + "\n"
