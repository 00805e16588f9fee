"""Decides every ``auto`` of a run on images, each with its reason."""

from collections.abc import Mapping
from typing import Any

from selfstudy.config import RunConfig
from selfstudy.encoders.timm import is_vision_transformer
from selfstudy.errors import UsageError
from selfstudy.images.scan import Scan
from selfstudy.machine.processors import processors
from selfstudy.methods.base import DataFacts, Images, Method
from selfstudy.runs.draft import (
    Draft,
    Resolved,
    batch_size,
    decide_machine,
    default_duration,
    expected_steps,
    require_one_batch,
)

_IMAGES_TO_SEE = 4_000_000
_IMAGES_PER_SECOND = {"cpu": 400, "mps": 800, "cuda": 3000}  # a guess, only for scaling recipes to a minutes budget


def resolve(config: RunConfig, scan: Scan, method: type[Method]) -> Resolved:
    """The configuration with everything decided but the encoder's own details, and the precision on processors.

    Raises:
        DataError: fewer images than one batch.
        EnvironmentFault: a device that this machine does not have.
        UsageError: an unknown or impossible setting of the method.
    """
    draft = Draft(config)
    decide, settings = draft.decide, draft.settings
    size, why = _image_size(scan)
    decide("data.image_size", size, why)
    if isinstance(settings["data"]["image_size"], int):
        settings["data"]["image_size"] = (settings["data"]["image_size"],) * 2
    decide("data.channels", scan.channels, "what the images have")
    decide("data.mean", [round(value, 6) for value in scan.mean], "measured")
    decide("data.std", [round(value, 6) for value in scan.std], "measured")
    _require_one_per_channel(settings["data"])
    reads = Images.of(method)
    usual = ("vit_small_patch16_224", "the method needs tokens") if reads.tokens else ("resnet18", "usual")
    decide("encoder.name", *usual)
    if reads.pooling != "auto" and is_vision_transformer(settings["encoder"]["name"]):
        decide("encoder.pool", reads.pooling, "the method trains the patch tokens, not a class token")
    images = len(scan.good)
    decide("train.batch_size", batch_size(images, reads.largest_batch), f"for {images:,} images")
    require_one_batch(images, draft.train("batch_size"), "usable images")
    decide("train.accumulate", 1, "methods compare the images of a whole batch")
    in_memory = scan.images is not None
    cpus = processors()
    decide(
        "train.workers",
        0 if in_memory else min(cpus, 8),
        "the images fit in memory" if in_memory else f"{cpus} processors",
    )
    decide_machine(draft)
    decide("train.compile", False, "no faster for images on processors; on a GPU try it")
    decide("train.duration", *default_duration(images, _IMAGES_TO_SEE, "images"))
    steps = expected_steps(draft, images, _IMAGES_PER_SECOND[draft.train("device")])
    channels, batch = settings["data"]["channels"], draft.train("batch_size")
    draft.decide_recipe(method, DataFacts(images, tuple(settings["data"]["image_size"]), channels, batch, steps))
    return draft.resolved(RunConfig, steps * batch)


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
