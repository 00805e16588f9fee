"""Deciding a configuration: settings left at ``auto`` get a value that suits data, machine and budget, and a reason."""

from typing import Any

from selfstudy.config import RunConfig, set_key, validate
from selfstudy.errors import DataError, UsageError
from selfstudy.machine.devices import best_device, precision_of
from selfstudy.methods.base import DataFacts, Method, Recipe
from selfstudy.ops.duration import Duration

_OPTIMIZER_DEFAULTS = {"momentum": 0.9, "beta2": 0.999, "warmup": 0.1, "clip": 0.0}


class Draft:
    """Settings that are being decided, and the reasons of those that were."""

    def __init__(self, config: RunConfig) -> None:
        self.settings: dict[str, Any] = config.model_dump()
        self.reasons: dict[str, str] = {}

    def decide(self, key: str, value: Any, reason: str) -> Any:
        """The value of a setting: the given one, or ``value`` with its reason if the setting was left at ``auto``."""
        group, name = key.split(".")
        if self.is_open(key):
            set_key(self.settings, key, value)
            self.reasons[key] = reason
        return self.settings[group][name]

    def is_open(self, key: str) -> bool:
        """True if the setting is still ``auto``."""
        group, name = key.split(".")
        return bool(self.settings[group].get(name, "auto") == "auto")

    def get(self, key: str) -> Any:
        """The value of a setting."""
        group, name = key.split(".")
        return self.settings[group][name]

    def decide_machine(self) -> str:
        """The device; the precision is decided as well if it follows from the device alone."""
        device: str = self.decide("train.device", *best_device(self.get("train.device")))
        if known := precision_of(device):
            self.decide("train.precision", *known)
        return device

    def decide_recipe(self, method: type[Method], facts: DataFacts) -> None:
        """Decide the settings of the optimizer and of the method by the method's recipe for the data.

        Raises:
            UsageError: an optimizer other than the recipe's, without a learning rate; or a setting that the method does
                not have.
        """
        recipe = method.recipe(facts)
        if recipe.optimizer:
            self._decide_optimizer(recipe)
        own = {key: value for key, value in self.settings["method"].items() if key != "name" and value != "auto"}
        full = validate(method.Config, {**recipe.method, **own}, "method")
        self.settings["method"] = {"name": self.get("method.name"), **full.model_dump(mode="json")}
        for key in (f"method.{name}" for name in recipe.method if name not in own):
            self.reasons[key] = recipe.reasons.get(key, "the method's recipe")

    def _decide_optimizer(self, recipe: Recipe) -> None:
        """Decide the settings of the optimizer by a recipe."""
        given, usual = self.settings["optimizer"], recipe.optimizer["name"]
        if given["name"] not in ("auto", usual) and given["lr"] == "auto":
            raise UsageError(
                f"optimizer.name={given['name']} without optimizer.lr: the method's recipe is for {usual} only\n"
                "set optimizer.lr too, or leave optimizer.name out"
            )
        used = usual if given["name"] == "auto" else given["name"]
        unused = "optimizer.momentum" if used == "adamw" else "optimizer.beta2"
        reasons = recipe.reasons | {unused: f"{used} has no use for it"}
        for name, value in {**_OPTIMIZER_DEFAULTS, **recipe.optimizer}.items():
            key = f"optimizer.{name}"
            self.decide(key, value, reasons.get(key, "the method's recipe"))

    def expected_steps(self, inputs: int, per_second: float) -> int:
        """Optimizer steps of the whole run; for a budget in minutes a rough guess that only scales recipes."""
        duration, batch = Duration.parse(self.get("train.duration")), self.get("train.batch_size")
        steps = duration.steps(steps_per_epoch=max(1, inputs // batch), batch_size=batch)
        if steps is None:
            steps = max(1, round(duration.amount * 60 * per_second / batch))
        return steps


def largest_batch(inputs: int, at_most: int) -> int:
    """The largest power of two for which an epoch has at least four batches; at least 2, at most ``at_most``."""
    return max(2, min(at_most, 1 << max(inputs // 4, 1).bit_length() - 1))


def default_duration(inputs: int, to_see: int, what: str) -> tuple[str, str]:
    """The number of epochs, 10 to 400, in which about ``to_see`` inputs are seen, and the reason."""
    epochs = min(400, max(10, round(to_see / max(inputs, 1))))
    return f"{epochs} epochs", f"{epochs * inputs:,} {what} seen"


def require_one_batch(inputs: int, batch: int, what: str) -> None:
    """Raise if the data does not fill one batch.

    Raises:
        UsageError: a batch size below 2.
        DataError: fewer than 2 inputs, or fewer than a batch.
    """
    if batch < 2:
        raise UsageError(f"batch size {batch}: a method needs at least 2 to tell apart")
    if inputs < 2:
        raise DataError(f"found {inputs} {what}, at least 2 are needed to learn from\nadd data; of text also --context")
    if inputs < batch:
        raise DataError(
            f"found {inputs} {what}, batch size {batch}\n"
            f"use --batch-size {max(2, 1 << max(inputs, 1).bit_length() - 1)} or add data"
        )
