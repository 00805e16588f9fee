"""Replaces every ``auto`` of a configuration by a value that suits data, machine and budget, with its reason."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from selfstudy.config import Duration, RunConfig, TextRunConfig, build, set_key, validate
from selfstudy.data.machine import processors
from selfstudy.data.scan import Scan
from selfstudy.data.text_files import TEXT_COLUMNS
from selfstudy.encoders.text_catalogue import SIZES, TextShape, longest_row, shape_in, shape_of
from selfstudy.encoders.timm import is_vision_transformer, require_known
from selfstudy.errors import DataError, EnvironmentFault, UsageError
from selfstudy.methods import method_class
from selfstudy.methods.base import DataFacts, Method

_IMAGES_TO_SEE = 4_000_000
_LONG_RUN_IMAGES = 2_000_000
_OPTIMIZER_DEFAULTS = {"momentum": 0.9, "beta2": 0.999, "warmup": 0.1, "clip": 0.0}
_IMAGES_PER_SECOND = {"cpu": 400, "mps": 800, "cuda": 3000}  # a guess, only for scaling recipes to a minutes budget
_TOKENS_TO_SEE = 30_000_000
_TEXT_BATCH, _TEXT_STEPS = 64, 2000
# Tokens of a micro-batch on processors, by the head: hardly slower than more (docs/log.md, 2026-11-26), and memory is
# bounded by them. Where every token is predicted it holds several times as much.
_MICRO_TOKENS = {"causal": 2048, "masked": 8192}
_OPERATIONS = {"cpu": 7.5e10, "mps": 2e12, "cuda": 5e13}  # a second and processor that training reaches, a guess
_OPERATIONS_PER_WEIGHT = 6  # and token: two for the forward pass, four for the backward pass
# Of new text 20 are best for a given amount of computing (Hoffmann et al. 2022, arXiv:2203.15556); short runs on small
# corpora read theirs several times, which is worth less, and do better with half as many (docs/log.md, 2026-11-25).
_TOKENS_PER_WEIGHT = 10
# Seconds of training from which compiling a network's layers is worth it: 5 to 16 of them, and then steps take 5 to
# 29 % less time; over rows of different lengths they take more (docs/log.md, 2026-11-26).
_WORTH_COMPILING = 300


class Resolved(NamedTuple):
    """A configuration without ``auto``, and why each derived value is what it is (by dotted key)."""

    config: RunConfig
    reasons: dict[str, str]
    long_run: bool


class TextFacts(NamedTuple):
    """What the settings of a run on text depend on.

    Attributes:
        tokens: to learn from.
        rows: function that says how many rows of a length there are.
        column: of tables, the one that all texts come from.
    """

    tokens: int
    rows: Callable[[int], int]
    column: str | None = None


class _Draft:
    """Settings that are being decided, and the reasons of those that were."""

    def __init__(self, config: RunConfig) -> None:
        self.settings: dict[str, Any] = config.model_dump()
        self.reasons: dict[str, str] = {}

    def decide(self, key: str, value: Any, reason: str) -> None:
        """Settle what was left open."""
        group, name = key.split(".")
        if self.settings[group].get(name, "auto") == "auto":
            set_key(self.settings, key, value)
            self.reasons[key] = reason

    def train(self, name: str) -> Any:
        """A setting of training."""
        return self.settings["train"][name]

    def decide_recipe(self, method: type[Method], facts: DataFacts) -> None:
        """What the method's recipe says for these facts."""
        recipe = method.recipe(facts)
        given, usual = self.settings["optimizer"], recipe.optimizer["name"]
        if given["name"] not in ("auto", usual) and given["lr"] == "auto":
            raise UsageError(
                f"optimizer.name={given['name']} without optimizer.lr: the method's recipe is for {usual} alone\n"
                "set optimizer.lr too, or leave optimizer.name out"
            )
        used = usual if given["name"] == "auto" else given["name"]
        reasons = {"optimizer.momentum" if used == "adamw" else "optimizer.beta2": f"{used} has no use for it"}
        for key, value in {**_OPTIMIZER_DEFAULTS, **recipe.optimizer}.items():
            key = f"optimizer.{key}"
            self.decide(key, value, reasons.get(key) or recipe.reasons.get(key, "the method's recipe"))
        self.settings["method"], derived = _method_settings(method, self.settings["method"], recipe.method)
        for key in derived:
            self.reasons[f"method.{key}"] = recipe.reasons.get(f"method.{key}", "the method's recipe")

    def resolved(self, model: type[RunConfig], images: int) -> Resolved:
        """The finished configuration of a run that sees so many images or rows."""
        return Resolved(validate(model, self.settings, ""), self.reasons, images >= _LONG_RUN_IMAGES)


def configured(settings: Mapping[str, Any]) -> RunConfig:
    """The validated configuration for nested settings, of images or of text as the method says.

    Raises:
        UsageError: an unknown method, key or value.
    """
    for group, values in settings.items():
        if not isinstance(values, Mapping):
            raise UsageError(
                f"setting {group!r}: got {values!r}, a group of settings is needed\nwrite {group}.KEY=VALUE"
            )
    name = settings.get("method", {}).get("name", "simclr")
    if not isinstance(name, str):
        raise UsageError(f"setting 'method.name': got {name!r}, a name is needed\n'selfstudy methods' lists all")
    method = method_class(name)
    own = settings.get("method", {})
    unknown = {key: value for key, value in own.items() if key != "name" and key not in method.Config.model_fields}
    validate(method.Config, unknown, "method")  # before the data is read: a misspelt name needs none of it
    config = build(settings, TextRunConfig if method.modality == "text" else RunConfig)
    if method.modality == "image" and config.encoder.name != "auto":
        require_known(config.encoder.name)
    return config


def resolve(config: RunConfig, scan: Scan, method: type[Method]) -> Resolved:
    """The configuration with everything decided but the encoder's own details, and the precision on processors.

    Raises:
        DataError: fewer images than one batch.
        EnvironmentFault: a device that this machine does not have.
        UsageError: an unknown or impossible setting of the method.
    """
    draft = _Draft(config)
    decide, settings = draft.decide, draft.settings
    size, why = _image_size(scan)
    decide("data.image_size", size, why)
    if isinstance(settings["data"]["image_size"], int):
        settings["data"]["image_size"] = (settings["data"]["image_size"],) * 2
    decide("data.channels", scan.channels, "what the images have")
    decide("data.mean", [round(value, 6) for value in scan.mean], "measured")
    decide("data.std", [round(value, 6) for value in scan.std], "measured")
    _require_one_per_channel(settings["data"])
    tokens = method.needs_tokens
    decide("encoder.name", *(("vit_small_patch16_224", "the method needs tokens") if tokens else ("resnet18", "usual")))
    if method.pooling != "auto" and is_vision_transformer(settings["encoder"]["name"]):
        decide("encoder.pool", method.pooling, "the method trains the patch tokens, not a class token")
    images = len(scan.good)
    decide("train.batch_size", _batch_size(images, method.largest_batch), f"for {images:,} images")
    _require_one_batch(images, draft.train("batch_size"), "usable images")
    decide("train.accumulate", 1, "methods compare the images of a whole batch")
    in_memory = scan.images is not None
    cpus = processors()
    decide(
        "train.workers",
        0 if in_memory else min(cpus, 8),
        "the images fit in memory" if in_memory else f"{cpus} processors",
    )
    _decide_machine(draft)
    decide("train.compile", False, "no faster for images on processors; on a GPU try it")
    decide("train.duration", *_duration(images, _IMAGES_TO_SEE, "images"))
    steps = _expected_steps(draft, images, _IMAGES_PER_SECOND[draft.train("device")])
    channels, batch = settings["data"]["channels"], draft.train("batch_size")
    draft.decide_recipe(method, DataFacts(images, tuple(settings["data"]["image_size"]), channels, batch, steps))
    return draft.resolved(RunConfig, steps * batch)


def resolve_text(config: TextRunConfig, facts: TextFacts, method: type[Method]) -> Resolved:
    """The configuration of a run on text with everything decided but the precision on processors.

    Raises:
        DataError: fewer rows than one batch.
        EnvironmentFault: a device that this machine does not have.
        UsageError: an unknown or impossible setting of the method.
    """
    draft = _Draft(config)
    decide, settings = draft.decide, draft.settings
    causal = method.language_head == "causal"
    if facts.column is not None:
        usual = facts.column.casefold() in TEXT_COLUMNS
        decide("data.column", facts.column, "a usual name of texts" if usual else "its texts are the longest")
    longest = longest_row(Path(settings["encoder"]["name"]))
    decide("data.context", *_context(facts.tokens, longest, causal=causal, pieces=method.reads_pieces))
    context = settings["data"]["context"]
    rows = facts.rows(context)
    _decide_machine(draft)
    decide("train.duration", *_duration(rows, _TOKENS_TO_SEE // context, "rows"))
    size, why = _text_size(draft, rows)
    decide("encoder.name", f"{'llama' if causal else 'modernbert'}-{size}", why)
    decide("encoder.dropout", method.dropout, "the method's augmentation" if method.dropout else "usual today")
    if method.dropout and not settings["encoder"]["dropout"]:
        name = settings["method"]["name"]
        raise UsageError(
            f"encoder.dropout 0: {name} tells its two views apart by dropout alone\nsay more, or leave it out"
        )
    shape = _shape(settings["encoder"], SIZES[size])
    per_second = _operations(draft) / (_OPERATIONS_PER_WEIGHT * shape.weights) / context
    decide("train.batch_size", *_text_batch(draft, rows, per_second, method.smallest_batch))
    batch = draft.train("batch_size")
    _require_one_batch(rows, batch, "rows of text")
    decide("train.accumulate", *_micro_batches(draft, context, method.language_head))
    decide("train.workers", 0, "tokens are read from memory maps")
    steps = _expected_steps(draft, rows, per_second)
    long = steps >= round(_WORTH_COMPILING * per_second / batch)
    if draft.train("device") != "cpu" or method.reads_pieces or not long:
        decide("train.compile", False, "pays in long runs over rows of one length on processors; on a GPU try it")
    trained = Path(settings["encoder"]["name"]).is_dir()
    draft.decide_recipe(method, DataFacts(rows, (1, context), 1, batch, steps, shape.width, trained))
    return draft.resolved(TextRunConfig, steps * batch)


def _text_size(draft: _Draft, rows: int) -> tuple[str, str]:
    """The size whose layers have a tenth as many weights as the run is to read tokens, or the nearest to it."""
    duration = Duration.parse(draft.train("duration"))
    if duration.unit == "minutes":
        spent = duration.amount * 60 * _operations(draft)
        weights = math.sqrt(spent / (_OPERATIONS_PER_WEIGHT * _TOKENS_PER_WEIGHT))
        why = f"{duration} of about {_operations(draft):.1g} operations per second"
    else:
        tokens = max(1.0, _rows_to_see(duration, rows) * draft.settings["data"]["context"])
        weights, why = tokens / _TOKENS_PER_WEIGHT, f"{tokens:,.0f} tokens to read"
    return min(SIZES, key=lambda name: abs(math.log(SIZES[name].weights / weights))), why


def _rows_to_see(duration: Duration, rows: int, per_second: float = 0.0) -> float:
    """How many rows a run reads, those of full batches where the duration is in steps."""
    each = {"minutes": 60 * per_second, "epochs": rows, "samples": 1, "steps": _TEXT_BATCH}
    return duration.amount * each.get(duration.unit, 0)


def _shape(encoder: Mapping[str, Any], size: TextShape) -> TextShape:
    """That of the encoder asked for; a directory that says none is taken for the size that suits the run."""
    name = encoder["name"]
    given = {key: encoder[key] for key in ("width", "depth", "heads") if encoder[key] != "auto"}
    return (shape_in(Path(name)) or size) if Path(name).is_dir() else shape_of(name, given)[1]


def _operations(draft: _Draft) -> float:
    """A guess at the operations per second of this machine."""
    device = draft.train("device")
    return _OPERATIONS[device] * (processors() if device == "cpu" else max(1, draft.train("devices")))


def _text_batch(draft: _Draft, rows: int, per_second: float, at_least: int) -> tuple[int, str]:
    """Rows of a step: as few as leave a run of two thousand steps, within bounds."""
    duration = Duration.parse(draft.train("duration"))
    wanted = math.inf if duration.unit == "steps" else _rows_to_see(duration, rows, per_second) / _TEXT_STEPS
    at_most = 1 << math.floor(math.log2(max(min(wanted, _TEXT_BATCH), at_least)))
    return _batch_size(rows, at_most), f"for {rows:,} rows and {duration}"


def _micro_batches(draft: _Draft, context: int, head: str) -> tuple[int, str]:
    """Into how many equal parts a step divides, where its rows have nothing to do with each other."""
    rows = draft.train("batch_size") // draft.train("devices")
    if not head or draft.train("device") != "cpu":
        return 1, "the whole batch at once"
    most = _MICRO_TOKENS[head]
    parts = next(n for n in range(1, rows + 1) if rows % n == 0 and (rows // n * context <= most or n == rows))
    return parts, f"at most {most:,} tokens at once keep memory small"


def _context(tokens: int, longest: int | None, *, causal: bool, pieces: bool) -> tuple[int, str]:
    """Tokens of a row: as usual for the task, and short enough for a hundred rows and for the encoder that is given."""
    usual, why = (
        64 if pieces else 256 if causal else 128,
        f"usual for {'short documents' if pieces else 'small networks'}",
    )
    if longest is not None and longest < usual:
        usual, why = longest, "the longest row of the encoder"
    return max(min(16, usual), min(usual, tokens // 100)), why


def _decide_machine(draft: _Draft) -> None:
    """Device and precision."""
    draft.decide("train.device", *best_device(draft.train("device")))
    if known := precision_of(draft.train("device")):
        draft.decide("train.precision", *known)


def _method_settings(
    method: type[Method], given: Mapping[str, Any], recipe: Mapping[str, Any]
) -> tuple[dict[str, Any], list[str]]:
    """The method's full settings, and which of them came from its recipe."""
    own = {key: value for key, value in given.items() if key != "name" and value != "auto"}
    full = validate(method.Config, {**recipe, **own}, "method")
    return {"name": given["name"], **full.model_dump(mode="json")}, [key for key in recipe if key not in own]


def _image_size(scan: Scan) -> tuple[tuple[int, int], str]:
    """The images' own size when they share a small one, else the largest usual size that they fill."""
    heights, widths = scan.sizes[:, 0], scan.sizes[:, 1]
    height, width = int(_median(heights)), int(_median(widths))
    same = bool((heights == height).all() and (widths == width).all())
    if same and max(height, width) <= 96:
        return (height, width), "the size of every image"
    short = min(height, width)
    side = next((s for s in (224, 128, 96, 64, 32) if s <= short), max(8, short))
    return (side, side), f"the median image is {height}x{width}"


def _require_one_per_channel(data: Mapping[str, Any]) -> None:
    for name in ("mean", "std"):
        if len(data[name]) != data["channels"]:
            raise UsageError(
                f"data.{name} holds {len(data[name])} numbers, images have {data['channels']} channels\n"
                "give one number for each channel, or leave it out to have it measured"
            )


def _median(values: Any) -> float:
    return float(sorted(values.tolist())[len(values) // 2])


def _batch_size(images: int, at_most: int) -> int:
    """The largest power of two that leaves at least four batches to an epoch, and at least 2."""
    return max(2, min(at_most, 1 << max(images // 4, 1).bit_length() - 1))


def _require_one_batch(images: int, batch: int, what: str) -> None:
    if batch < 2:
        raise UsageError(f"batch size {batch}: a method needs at least 2 to tell apart")
    if images < 2:
        raise DataError(f"found {images} {what}, at least 2 are needed to learn from\nadd data; of text also --context")
    if images < batch:
        raise DataError(
            f"found {images} {what}, batch size {batch}\n"
            f"use --batch-size {max(2, 1 << max(images, 1).bit_length() - 1)} or add data"
        )


def best_device(asked: str) -> tuple[str, str]:
    """The device asked for, or for ``auto`` the best one here, and why; one that is not here is refused."""
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if not present.get(asked, True):
        raise EnvironmentFault(f"device {asked!r} is not available on this machine\nuse --device auto or --device cpu")
    if asked != "auto":
        return asked, "given"
    return next(name for name, there in present.items() if there), "the best this machine has"


def precision_of(device: str) -> tuple[str, str] | None:
    """What a device multiplies fastest, with the reason; None for processors, where the network decides."""
    if device == "cpu":
        return None
    fast = device == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return ("bf16", "fast on this GPU") if fast else ("fp32", "bf16 is not faster on this device")


def _duration(images: int, to_see: int, what: str) -> tuple[str, str]:
    """Enough epochs to see so many images or rows, between 10 and 400."""
    epochs = min(400, max(10, round(to_see / max(images, 1))))
    return f"{epochs} epochs", f"{epochs * images:,} {what} seen"


def _expected_steps(draft: _Draft, images: int, per_second: float) -> int:
    """Optimizer steps of the whole run; for a minutes budget a rough guess, which only scales recipes."""
    duration, batch = Duration.parse(draft.train("duration")), draft.train("batch_size")
    steps = duration.steps(steps_per_epoch=max(1, images // batch), batch_size=batch)
    if steps is None:
        steps = max(1, round(duration.amount * 60 * per_second / batch))
    return steps
