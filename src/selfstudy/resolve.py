"""Replaces every ``auto`` of a configuration by a value that suits data, machine and budget, with its reason."""

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch

from selfstudy.config import Duration, RunConfig, set_key, validate
from selfstudy.data.scan import Scan
from selfstudy.errors import DataError, EnvironmentFault, UsageError
from selfstudy.methods.base import DataFacts, Method

_IMAGES_TO_SEE = 4_000_000
_LONG_RUN_IMAGES = 2_000_000
_OPTIMIZER_DEFAULTS = {"momentum": 0.9, "beta2": 0.999, "warmup": 0.1, "clip": 0.0}
_IMAGES_PER_SECOND = {"cpu": 400, "mps": 800, "cuda": 3000}  # a guess, only for scaling recipes to a minutes budget


class Resolved(NamedTuple):
    """A configuration without ``auto``, and why each derived value is what it is (by dotted key)."""

    config: RunConfig
    reasons: dict[str, str]
    long_run: bool


def resolve(config: RunConfig, scan: Scan, method: type[Method]) -> Resolved:
    """The configuration with everything decided but the encoder's own details, and the precision on processors.

    Raises:
        DataError: fewer images than one batch.
        EnvironmentFault: a device that this machine does not have.
        UsageError: an unknown or impossible setting of the method.
    """
    settings, reasons = config.model_dump(), {}

    def decide(key: str, value: Any, reason: str) -> None:
        group, name = key.split(".")
        if settings[group].get(name, "auto") == "auto":
            set_key(settings, key, value)
            reasons[key] = reason

    size, why = _image_size(scan)
    decide("data.image_size", size, why)
    if isinstance(settings["data"]["image_size"], int):
        settings["data"]["image_size"] = (settings["data"]["image_size"],) * 2
    decide("data.channels", scan.channels, "what the images have")
    decide("data.mean", [round(value, 6) for value in scan.mean], "measured")
    decide("data.std", [round(value, 6) for value in scan.std], "measured")
    tokens = method.needs_tokens
    decide("encoder.name", *(("vit_small_patch16_224", "the method needs tokens") if tokens else ("resnet18", "usual")))
    if method.pooling != "auto":
        decide("encoder.pool", method.pooling, "the method trains the patch tokens, not a class token")
    images = len(scan.good)
    decide("train.batch_size", _batch_size(images), f"for {images:,} images")
    batch = settings["train"]["batch_size"]
    _require_one_batch(images, batch)
    decide("train.device", *best_device(settings["train"]["device"]))
    if known := precision_of(settings["train"]["device"]):
        decide("train.precision", *known)
    in_memory = scan.images is not None
    cpus = len(os.sched_getaffinity(0)) if "sched_getaffinity" in dir(os) else os.cpu_count() or 1
    decide(
        "train.workers",
        0 if in_memory else min(cpus, 8),
        "the images fit in memory" if in_memory else f"{cpus} processors",
    )
    decide("train.duration", *_duration(images))
    total_steps = _expected_steps(Duration.parse(settings["train"]["duration"]), images, batch, settings["train"])
    height, width = settings["data"]["image_size"]
    recipe = method.recipe(DataFacts(images, (height, width), settings["data"]["channels"], batch, total_steps))
    for key, value in {**_OPTIMIZER_DEFAULTS, **recipe.optimizer}.items():
        decide(f"optimizer.{key}", value, recipe.reasons.get(f"optimizer.{key}", "the method's recipe"))
    settings["method"], method_reasons = _method_settings(method, settings["method"], recipe.method)
    reasons |= {f"method.{key}": recipe.reasons.get(f"method.{key}", "the method's recipe") for key in method_reasons}
    return Resolved(validate(RunConfig, settings, ""), reasons, total_steps * batch >= _LONG_RUN_IMAGES)


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


def _median(values: Any) -> float:
    return float(sorted(values.tolist())[len(values) // 2])


def _batch_size(images: int) -> int:
    """The largest power of two up to 256 that leaves at least four batches to an epoch, and at least 2."""
    return max(2, min(256, 1 << max(images // 4, 1).bit_length() - 1))


def _require_one_batch(images: int, batch: int) -> None:
    if batch < 2:
        raise UsageError(f"batch size {batch}: a method needs at least 2 images to tell apart")
    if images < batch:
        raise DataError(
            f"found {images} usable images, batch size {batch}\n"
            f"use --batch-size {max(2, 1 << max(images, 1).bit_length() - 1)} or add images"
        )


def best_device(asked: str) -> tuple[str, str]:
    """The best device here, after checking that one asked for by name exists."""
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if not present.get(asked, True):
        raise EnvironmentFault(f"device {asked!r} is not available on this machine\nuse --device auto or --device cpu")
    best = next(name for name, there in present.items() if there)
    return best, "the best this machine has"


def precision_of(device: str) -> tuple[str, str] | None:
    """What a device multiplies fastest, with the reason; None for processors, where the network decides."""
    if device == "cpu":
        return None
    fast = device == "cuda" and torch.cuda.is_bf16_supported()
    return ("bf16", "fast on this GPU") if fast else ("fp32", "bf16 is not faster on this device")


def _duration(images: int) -> tuple[str, str]:
    """Enough epochs to see four million images, between 10 and 400."""
    epochs = min(400, max(10, round(_IMAGES_TO_SEE / images)))
    return f"{epochs} epochs", f"{epochs * images:,} images seen"


def _expected_steps(duration: Duration, images: int, batch: int, train: Mapping[str, Any]) -> int:
    """Optimizer steps of the whole run; for a minutes budget a rough guess, which only scales recipes."""
    steps = duration.steps(steps_per_epoch=max(1, images // batch), batch_size=batch)
    if steps is None:
        steps = max(1, round(duration.amount * 60 * _IMAGES_PER_SECOND[train["device"]] / batch))
    return steps
