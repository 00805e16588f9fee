"""The settings that runs of every modality have, as closed pydantic models; YAML and dotted overrides.

A modality adds its own settings in ``config.py`` of its folder, as a subclass of :class:`RunConfig`. Most fields may be
left at ``auto``; :mod:`selfstudy.runs.draft` replaces each ``auto`` by a value and keeps the reason. Does not import
torch.
"""

import math
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator
from pydantic_core import ErrorDetails

from selfstudy.errors import FileRefusedError, UsageError, did_you_mean
from selfstudy.ops.duration import Duration

Auto = Literal["auto"]
Count = Annotated[int, Field(ge=1)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
# Two numbers: the ends of a range, or the first and the last value of a schedule.
Shares = tuple[Share, Share]
Positives = tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]]
Model = TypeVar("Model", bound=BaseModel)
DEFAULT_METHOD = "simclr"
AUTO_METHOD = "auto"  # a modality decides it from its data and the budget
_MAX_YAML_BYTES = 1_000_000


class Closed(BaseModel):
    """A frozen model that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Keyword(NamedTuple):
    """A short name of a setting: a keyword of :func:`selfstudy.pretrain` and an option of the command line.

    Attributes:
        name: ``"batch_size"`` stands for the keyword ``batch_size`` and for the option ``--batch-size``.
        kind: the type that the command line asks for; the field itself reads other texts.
        help: the help text of the option; empty where it is the field's description.
        unit: the unit that makes a duration of a number; empty for all other settings.
    """

    name: str
    kind: type[str] | type[int] | type[float] = str
    help: str = ""
    unit: str = ""


class SameResult:
    """Marks a setting that does not change the weights after a number of steps, apart from rounding.

    It may change on ``--resume``, and ``compare`` ignores it. Every setting without this mark changes results.
    """


class DataConfig(Closed):
    """The data to learn from. Each modality adds settings of its own in a subclass."""

    path: Annotated[
        str,
        Field(description="Folder, file, archive, list or sample that holds the data."),
        SameResult(),  # wherever the data lie: a run keeps their fingerprint
    ]
    modality: Annotated[
        str,
        Field(description="Kind of data; 'selfstudy modalities' lists them, and auto is the method's own."),
        Keyword("modality"),
        SameResult(),  # the fingerprint tells data apart, and runs of 2026-11 do not name the kind
    ] = "auto"


class EncoderConfig(Closed):
    """The network that is trained. Each modality adds settings of its own in a subclass."""

    name: Annotated[str, Field(description="Name of the network; 'selfstudy encoders' lists good ones.")] = "auto"


class OptimizerConfig(Closed):
    """The settings of the optimizer: learning rate, weight decay, momentum and their course."""

    name: Annotated[
        Literal["auto", "adamw", "sgd", "lars", "larc"],
        Field(description="Optimizer; auto is the one of the method's recipe."),
    ] = "auto"
    lr: Annotated[Auto | float, Field(description="Peak learning rate for the whole batch.")] = "auto"
    bias_lr: Annotated[NotNegative, Field(description="Learning rate of biases and norms, as a share of lr.")] = 1.0
    layer_decay: Annotated[
        float,
        Field(gt=0, le=1, description="Factor of the encoder's learning rate per layer, from the last one on."),
    ] = 1.0
    weight_decay: Annotated[Auto | NotNegative, Field(description="Weight decay of the optimizer.")] = "auto"
    final_weight_decay: Annotated[
        NotNegative | None, Field(description="Weight decay at the end, along a cosine; null keeps it constant.")
    ] = None
    decay_biases: Annotated[bool, Field(description="Let biases and norms decay as well.")] = False
    momentum: Annotated[Auto | float, Field(description="Momentum of sgd, lars and larc; adamw ignores it.")] = "auto"
    beta2: Annotated[Auto | float, Field(description="Decay rate of adamw's mean squared gradient.")] = "auto"
    warmup: Annotated[Auto | float, Field(description="Share of training in which the learning rate rises.")] = "auto"
    warmup_from: Annotated[Share, Field(description="Learning rate where the warm-up starts, as a share of lr.")] = 0.0
    schedule: Annotated[
        str | dict[str, Any],
        Field(description="Shape of the learning rate after the warm-up: a name, or {name: wsd, decay: 0.1}."),
    ] = "cosine"
    final_lr: Annotated[Share, Field(description="Last learning rate, as a share of lr.")] = 0.0
    clip: Annotated[Auto | NotNegative, Field(description="Largest norm of the gradient; 0 does not clip.")] = "auto"
    clip_by: Annotated[
        Literal["all", "each"],
        Field(description="Clip by the norm of all gradients together, or each gradient by its own."),
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
            hint = "; for a number of steps, divide it by the steps of the run" if info.field_name == "warmup" else ""
            raise UsageError(f"optimizer.{info.field_name}={value:g}\nset a fraction, at least 0 and below 1{hint}")
        return value


class TrainConfig(Closed):
    """Length, batch size, precision and hardware of training."""

    duration: Annotated[
        str,
        Field(description="Length of training: '10 epochs', '500 steps', '5 minutes' or '100000 samples'."),
        Keyword("epochs", float, "Train for this many epochs.", "epochs"),
        Keyword("steps", int, "Train for this many optimizer steps.", "steps"),
        Keyword("minutes", float, "Train for this many minutes.", "minutes"),
        Keyword("samples", int, "Train until this many images or rows of text were seen.", "samples"),
    ] = "auto"
    batch_size: Annotated[
        Auto | int,
        Field(description="Images or rows of text per optimizer step, over all processes."),
        Keyword("batch_size"),
    ] = "auto"
    accumulate: Annotated[Auto | Count, Field(description="Micro-batches per step; more of them need less memory.")] = (
        "auto"
    )
    precision: Annotated[
        Literal["auto", "fp32", "bf16"], Field(description="Precision of training."), Keyword("precision")
    ] = "auto"
    compile: Annotated[Auto | bool, Field(description="Compile the encoder's layers with torch.compile.")] = "auto"
    device: Annotated[
        Literal["auto", "cpu", "cuda", "mps"],
        Field(description="Device to train on; auto takes the GPU if there is one."),
        Keyword("device"),
        SameResult(),
    ] = "auto"
    devices: Annotated[int, Field(ge=1, description="Processes that share every batch, one per device.")] = 1
    workers: Annotated[
        Auto | Annotated[int, Field(ge=0)],
        Field(description="Processes that read and decode the data; 0 does it in the training process."),
        Keyword("workers"),
        SameResult(),
    ] = "auto"
    seed: Annotated[int, Field(ge=0, description="Seed of every random number of the run."), Keyword("seed", int)] = 0
    checkpoint_every: Annotated[
        str, Field(description="Time between checkpoints, written like train.duration, or '5 %' of it."), SameResult()
    ] = "2 minutes"
    keep: Annotated[int, Field(ge=2, description="Checkpoints to keep."), SameResult()] = 2
    log_every: Annotated[int, Field(ge=1, description="Steps between lines of metrics.jsonl."), SameResult()] = 10

    @field_validator("duration")
    @classmethod
    def _is_no_share(cls, text: str) -> str:
        if text == "auto":
            return text
        duration = Duration.parse(text)
        if duration.unit == "%":
            raise UsageError(f"train.duration={text!r} is a share of itself\nwrite '10 epochs' or '500 steps'")
        return str(duration)

    @field_validator("checkpoint_every")
    @classmethod
    def _is_duration(cls, text: str) -> str:
        return str(Duration.parse(text))


class HealthConfig(Closed):
    """The label-free check of the representation during training."""

    every: Annotated[int, Field(ge=1, description="Steps between readings."), SameResult()] = 50
    on_collapse: Annotated[
        Literal["warn", "stop"],
        Field(description="Reaction to a collapse. stop ends the run, but in its first tenth only at NaN or infinity."),
        SameResult(),
    ] = "warn"


class RunConfig(Closed):
    """All settings of a run. Each modality has a subclass with its own ``data`` and ``encoder``.

    ``method`` holds ``name`` and the method's own settings.
    """

    data: DataConfig
    method: Annotated[
        dict[str, Any],
        Field(description="Pretext task; 'selfstudy methods' lists them.", validate_default=True),
        Keyword("method"),
    ] = {}
    encoder: EncoderConfig = EncoderConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    train: TrainConfig = TrainConfig()
    health: HealthConfig = HealthConfig()

    default_method: ClassVar[str] = DEFAULT_METHOD

    @field_validator("method")
    @classmethod
    def _has_a_name(cls, method: dict[str, Any]) -> dict[str, Any]:
        # settings without the name of their method are those of the method that was the default in earlier versions
        return {"name": DEFAULT_METHOD if method else cls.default_method} | method


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
        complaints: dict[str, list[str]] = {}
        for item in error.errors():  # a setting of several types has one for each
            subject, complaint = _complaint(model, item, prefix)
            complaints.setdefault(subject, []).append(complaint)
        lines = [f"{subject}{' or '.join(dict.fromkeys(found))}" for subject, found in complaints.items()]
        raise UsageError("\n".join(lines)) from None


def _complaint(model: type[BaseModel], item: ErrorDetails, prefix: str) -> tuple[str, str]:
    """The setting that one pydantic error is about, and what is allowed there."""
    path = [str(part) for part in item["loc"]]
    if item["type"] == "extra_forbidden":
        siblings = _fields(model, path[:-1])
        given = ".".join([part for part in [prefix, *path] if part])
        known = ", ".join(siblings)
        return f"unknown setting {given!r}", f"{did_you_mean(path[-1], siblings)}\nknown there: {known}"
    names = [part for part in path if not part[:1].isupper() and "[" not in part and part not in _TYPE_TAGS]
    key = ".".join([part for part in [prefix, *names] if part])
    return f"setting {key!r}: got {item['input']!r}; input should be ", item["msg"].removeprefix("Input should be ")


_TYPE_TAGS = {"int", "float", "str", "bool", "literal", "constrained-int", "constrained-float"}


def _fields(model: type[BaseModel], path: Iterable[str]) -> list[str]:
    """The names of the fields at a path inside a model."""
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
    """A copy of nested settings, with overrides such as ``"method.temperature=0.2"`` applied in order.

    Raises:
        UsageError: an override that is not ``dotted.key=value``.
    """
    result = _deep_copy(settings)
    for key, value in map(override, overrides):
        set_key(result, key, value)
    return result


def override(text: str) -> tuple[str, Any]:
    """The dotted key and the value of an override such as ``"method.temperature=0.2"``.

    Raises:
        UsageError: the text is not ``dotted.key=value``.
    """
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise UsageError(f"--set {text!r} is not of the form key=value, such as method.temperature=0.2")
    return key.strip(), _scalar(text, value)


def set_key(settings: dict[str, Any], dotted: str, value: Any) -> None:
    """Put ``value`` at a dotted key of nested settings; missing groups are created.

    Raises:
        UsageError: a part of the key is a setting, not a group.
    """
    *parents, last = dotted.split(".")
    for parent in parents:
        settings = settings.setdefault(parent, {})
        if not isinstance(settings, dict):
            raise UsageError(f"setting {dotted!r}: {parent!r} holds a value, not a group of settings")
    settings[last] = value


def _scalar(text: str, value: str) -> Any:
    """The value as YAML reads it, and a number for ``1e-4``."""
    if "e" in value.lower():
        with suppress(ValueError):
            return float(value)
    try:
        return yaml.safe_load(value)
    except yaml.YAMLError:
        raise UsageError(f"--set {text!r}: the value is not readable as YAML") from None


def _deep_copy(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _deep_copy(value) if isinstance(value, Mapping) else value for key, value in settings.items()}


def flatten(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Nested settings as ``{"train.seed": 0, ...}``; a setting whose value is a mapping keeps it.

    Raises:
        UsageError: a group is not a mapping.
    """
    for group, values in settings.items():
        if not isinstance(values, Mapping):
            raise UsageError(
                f"setting {group!r}: got {values!r}, a group of settings is needed\nwrite {group}.KEY=VALUE"
            )
    return {f"{group}.{key}": value for group, values in settings.items() for key, value in values.items()}


def to_yaml(config: RunConfig, reasons: Mapping[str, str]) -> str:
    """The configuration as YAML, with the reason of each derived value as a comment."""
    lines: list[str] = []
    for group, values in config.model_dump(mode="json").items():
        lines.append(f"{group}:")
        for key, value in values.items():
            text = yaml.safe_dump(value, default_flow_style=True, width=10_000).removesuffix("\n...\n").strip()
            reason = reasons.get(f"{group}.{key}", "").replace("\n", " ")
            lines.append(f"  {key}: {text}" + (f"  # {reason}" if reason else ""))
    return "\n".join(lines) + "\n"
