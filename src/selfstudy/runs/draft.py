"""Replaces every ``auto`` of a configuration by a value that suits data, machine and budget, with its reason."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from selfstudy.config import RunConfig, set_key, validate
from selfstudy.errors import DataError, UsageError
from selfstudy.machine.devices import best_device, precision_of
from selfstudy.methods.base import DataFacts, Method
from selfstudy.ops.duration import Duration

_LONG_RUN_IMAGES = 2_000_000
_OPTIMIZER_DEFAULTS = {"momentum": 0.9, "beta2": 0.999, "warmup": 0.1, "clip": 0.0}


class Resolved(NamedTuple):
    """A configuration without ``auto``, and why each derived value is what it is (by dotted key)."""

    config: RunConfig
    reasons: dict[str, str]
    long_run: bool


class Draft:
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


def decide_machine(draft: Draft) -> None:
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


def batch_size(images: int, at_most: int) -> int:
    """The largest power of two that leaves at least four batches to an epoch, and at least 2."""
    return max(2, min(at_most, 1 << max(images // 4, 1).bit_length() - 1))


def require_one_batch(images: int, batch: int, what: str) -> None:
    """Raise where the inputs do not fill a batch of at least 2.

    Raises:
        UsageError: a batch size below 2.
        DataError: fewer inputs than 2, or than one batch.
    """
    if batch < 2:
        raise UsageError(f"batch size {batch}: a method needs at least 2 to tell apart")
    if images < 2:
        raise DataError(f"found {images} {what}, at least 2 are needed to learn from\nadd data; of text also --context")
    if images < batch:
        raise DataError(
            f"found {images} {what}, batch size {batch}\n"
            f"use --batch-size {max(2, 1 << max(images, 1).bit_length() - 1)} or add data"
        )


def default_duration(images: int, to_see: int, what: str) -> tuple[str, str]:
    """Enough epochs to see so many images or rows, between 10 and 400."""
    epochs = min(400, max(10, round(to_see / max(images, 1))))
    return f"{epochs} epochs", f"{epochs * images:,} {what} seen"


def expected_steps(draft: Draft, images: int, per_second: float) -> int:
    """Optimizer steps of the whole run; for a minutes budget a rough guess, which only scales recipes."""
    duration, batch = Duration.parse(draft.train("duration")), draft.train("batch_size")
    steps = duration.steps(steps_per_epoch=max(1, images // batch), batch_size=batch)
    if steps is None:
        steps = max(1, round(duration.amount * 60 * per_second / batch))
    return steps
