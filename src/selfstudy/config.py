"""The configuration of a run: closed pydantic models, YAML in and out, dotted overrides, durations.

Most fields may be left at ``auto``; :mod:`selfstudy.runs.draft` replaces each ``auto`` by a value and keeps the reason.
Does not import torch.
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
T = TypeVar("T")
_VIEWS = ("none", "weak", "strong", "medical", "satellite")
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
    """What to learn from, and how its images are read."""

    path: str
    image_size: Annotated[Auto | int | tuple[int, int], Field(description="side, or [height, width], in pixels")] = (
        "auto"
    )
    channels: Annotated[Auto | int, Field(description="channels an image must have")] = "auto"
    mean: Annotated[Auto | list[float], Field(description="per channel, in [0, 1]; measured when auto")] = "auto"
    std: Annotated[Auto | list[float], Field(description="per channel, in [0, 1]; measured when auto")] = "auto"
    views: Annotated[
        str | dict[str, Any] | list[dict[str, Any]],
        Field(description="auto: the method's own, for photographs; else changes to them"),
    ] = "auto"
    cache_gigabytes: Annotated[
        Auto | NotNegative, Field(description="memory for decoded images; 0 reads them every time")
    ] = "auto"
    max_bad: Annotated[float, Field(ge=0, le=1, description="share of unreadable inputs above which a run stops")] = 0.1

    @field_validator("views", mode="before")
    @classmethod
    def _is_known(cls, views: Any) -> Any:
        if isinstance(views, str) and views not in ("auto", *_VIEWS):
            raise UsageError(
                f"unknown views {views!r}{did_you_mean(views, _VIEWS)}\nknown: {', '.join(_VIEWS)}, or a .yaml file"
            )
        return views

    @property
    def size(self) -> tuple[int, int]:
        """The resolved image size as (height, width)."""
        if isinstance(self.image_size, tuple):
            return self.image_size
        side = settled(self.image_size)
        return side, side


class TextDataConfig(Closed):
    """What text to learn from, and how it becomes rows of tokens."""

    path: str
    documents: Annotated[
        Literal["auto", "file", "blank-line", "line", "record"], Field(description="what a document is")
    ] = "auto"
    column: Annotated[str, Field(description="of a table: the one with the text; auto looks for it")] = "auto"
    held_out: Annotated[
        str | float, Field(description="share of the documents kept for evaluation, or the path of other text")
    ] = 0.05
    tokenizer: Annotated[str, Field(description="auto, bpe, wordpiece, char, byte, or a tokenizer.json")] = "auto"
    vocab_size: Auto | int = "auto"
    context: Annotated[Auto | Annotated[int, Field(ge=8)], Field(description="tokens of the longest row")] = "auto"
    cache: Annotated[
        str, Field(description="folder of the tokenised corpora; auto: selfstudy/tokens in XDG_CACHE_HOME or ~/.cache")
    ] = "auto"

    @property
    def size(self) -> tuple[int, int]:
        """A row's (height, width), as if it were a picture: (1, T)."""
        return 1, settled(self.context)


class EncoderConfig(Closed):
    """The network that is trained."""

    name: Annotated[str, Field(description="a timm name")] = "auto"
    stem: Literal["auto", "stock", "no_pool", "small"] = "auto"
    patch_size: Auto | int = "auto"
    pool: Annotated[Literal["auto", "token", "avg"], Field(description="of vision transformers")] = "auto"
    pretrained: bool = False


class TextEncoderConfig(Closed):
    """The network that is trained on text."""

    name: Annotated[str, Field(description="layout and size, bert-mini, or a directory of transformers")] = "auto"
    width: Annotated[Auto | Count, Field(description="other than the size's own, as are depth and heads")] = "auto"
    depth: Auto | Count = "auto"
    heads: Auto | Count = "auto"
    dropout: Annotated[Auto | Annotated[float, Field(ge=0, lt=1)], Field(description="of every layer")] = "auto"
    pool: Annotated[Literal["mean", "cls", "last"], Field(description="how a text's tokens become one vector")] = "mean"


class OptimizerConfig(Closed):
    """How the weights move. ``warmup`` and ``final_lr`` are fractions: of training, and of ``lr``."""

    name: Literal["auto", "adamw", "sgd", "lars"] = "auto"
    lr: Annotated[Auto | float, Field(description="peak learning rate, for the whole batch")] = "auto"
    weight_decay: Auto | NotNegative = "auto"
    momentum: Annotated[Auto | float, Field(description="of sgd and lars; adamw has no use for it")] = "auto"
    beta2: Annotated[Auto | float, Field(description="of adamw alone: what is kept of squared gradients per step")] = (
        "auto"
    )
    warmup: Auto | float = "auto"
    final_lr: Annotated[float, Field(ge=0, le=1)] = 0.0
    clip: Annotated[Auto | NotNegative, Field(description="largest gradient norm; 0 for none")] = "auto"

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
    """Everything that decides a run. ``method`` holds ``name`` and the method's own settings."""

    data: DataConfig
    method: dict[str, Any] = Field(default_factory=lambda: {"name": "simclr"})
    encoder: EncoderConfig = EncoderConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    train: TrainConfig = TrainConfig()
    health: HealthConfig = HealthConfig()


class TextRunConfig(RunConfig):
    """Everything that decides a run on text."""

    data: TextDataConfig  # type: ignore[assignment]  # other data, the same run
    encoder: TextEncoderConfig = TextEncoderConfig()  # type: ignore[assignment]


def settled(value: T | Auto) -> T:
    """A setting as :mod:`selfstudy.runs.draft` leaves it: no longer ``auto``."""
    if value == "auto":
        raise ValueError("a setting is used before it was resolved")
    return value


def build(settings: Mapping[str, Any], model: type[RunConfig] = RunConfig) -> RunConfig:
    """The validated configuration for nested settings, of images or, with ``TextRunConfig``, of text.

    Raises:
        UsageError: an unknown key (with the nearest known one) or a value that is not allowed.
    """
    config: RunConfig = validate(model, settings, "")
    return (
        config if "name" in config.method else config.model_copy(update={"method": {"name": "simclr"} | config.method})
    )


def validate(model: type[Any], settings: Mapping[str, Any], prefix: str) -> Any:
    """``model(**settings)`` with pydantic's complaints turned into one readable line each.

    Raises:
        UsageError: as for :func:`build`; ``prefix`` is put before each key's name.
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
