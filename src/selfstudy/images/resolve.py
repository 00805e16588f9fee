"""Decides every ``auto`` of a run on images, each with its reason."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch

from selfstudy.config import validate
from selfstudy.encoders.attention import spell_out_attention
from selfstudy.encoders.timm import EncoderSpec, build_encoder, decided, is_vision_transformer
from selfstudy.errors import UsageError
from selfstudy.images.config import ImageRunConfig
from selfstudy.images.scan import Scan
from selfstudy.machine.precision import faster_precision
from selfstudy.machine.processors import processors, usable_memory
from selfstudy.methods.base import DataFacts, Method
from selfstudy.methods.reads import Images
from selfstudy.methods.solved import SolvedMethod
from selfstudy.runs.draft import Draft, default_duration, largest_batch, require_one_batch
from selfstudy.runs.resolved import Resolved, own_settings, resolved
from selfstudy.views.presets import changed
from selfstudy.views.spec import Spec

_IMAGES_TO_SEE = 4_000_000
_LONG_RUN_IMAGES = 2_000_000  # images seen from which a slower stem with more resolution is worth it
_IMAGES_PER_SECOND = {
    "cpu": 400,
    "mps": 800,
    "cuda": 3000,
}  # a guess that only scales recipes if the budget is in minutes
_TRIAL_PIXELS = 64 * 224 * 224  # pixels of a trial: a batch of small images, or part of a batch of large ones
# Images of 16 px become maps of one pixel in a ResNet. For those, torch 2.14's convolutions in bfloat16 on processors
# sometimes give a gradient of NaN for the weights that see only padding.
_SMALLEST_IN_HALF = 24


class ImageInputs(NamedTuple):
    """The decisions of a run on images: the form of its inputs, and its encoder.

    Attributes:
        size: (height, width) of the images in pixels.
        channels: the number of channels C of every image.
        mean: the mean of each channel, in [0, 1], which is subtracted.
        std: the standard deviation of each channel, which the images are divided by.
        specs: the tensors that the method receives for each image.
        encoder: the description of the encoder, without ``auto``.
    """

    size: tuple[int, int]
    channels: int
    mean: list[float]
    std: list[float]
    specs: list[Spec]
    encoder: EncoderSpec


MeasurePrecision = Callable[[EncoderSpec, int], tuple[str, str]]


def resolve(
    config: ImageRunConfig,
    scan: Scan,
    method: type[Method],
    *,
    measure: MeasurePrecision | None = None,
    planned_steps: int | None = None,
) -> Resolved[ImageInputs]:
    """The configuration with everything decided.

    Args:
        config: validated settings, some of them ``auto``.
        scan: the scan of the training images.
        method: the class that the configuration names.
        measure: returns the precision that trains an encoder faster at a batch size, and the reason;
            :func:`measured_precision` if left out. It is called only if nothing else decides the precision.
        planned_steps: the steps that a budget in minutes holds by measurement; guessed if left out.

    Raises:
        DataError: there are fewer images than a batch has.
        EnvironmentFault: the machine does not have the device.
        UsageError: a setting of the method or of the encoder is unknown or impossible.
    """
    draft = Draft(config)
    decide = draft.decide
    decide_images(draft, scan)
    reads = Images.of(method)
    name, why = ("vit_small_patch16_224", "the method needs tokens") if reads.tokens else ("resnet18", "usual")
    if reads.pooling != "auto" and is_vision_transformer(decide("encoder.name", name, why)):
        decide("encoder.pool", reads.pooling, "the method trains the patch tokens, not a class token")
    decide("encoder.name", name, why)
    images = len(scan.good)
    batch = decide("train.batch_size", largest_batch(images, reads.largest_batch), f"for {images:,} images")
    require_one_batch(images, batch, "usable images")
    decide("train.accumulate", 1, "methods compare the images of a whole batch")
    if scan.images is not None:
        decide("train.workers", 0, "the images fit in memory")
    decide("train.workers", min(processors(), 8), f"{processors()} processors")
    device = draft.decide_machine()
    decide("train.compile", False, "no faster for images on processors; on a GPU try it")
    decide("train.duration", *default_duration(images, _IMAGES_TO_SEE, "images"))
    steps = planned_steps or draft.expected_steps(images, _IMAGES_PER_SECOND[device])
    size, channels = tuple(draft.get("data.image_size")), draft.get("data.channels")
    facts = DataFacts(inputs=images, size=size, channels=channels, batch_size=batch, total_steps=steps)
    draft.decide_recipe(method, facts)
    given = validate(ImageRunConfig, draft.settings)
    spec, reason = decided(replace(_spec(given), long_run=steps * batch >= _LONG_RUN_IMAGES))
    decide("encoder.stem", spec.stem, reason)
    decide("encoder.patch_size", spec.patch_size, "it has no patches" if spec.patch_size is None else reason)
    decide("encoder.pool", "own", "the network's own")
    if draft.is_open("train.precision"):
        decide("train.precision", *(measure or measured_precision)(spec, batch))
    config = validate(ImageRunConfig, draft.settings)
    return resolved(config, method, inputs_of(config, method), reasons=draft.reasons)


def inputs_of(config: ImageRunConfig, method: type[Method]) -> ImageInputs:
    """The inputs and the encoder of a configuration that is already decided, such as that of an earlier run.

    Raises:
        UsageError: a setting of the encoder is unknown or impossible.
    """
    spec, _ = decided(_spec(config))
    if issubclass(method, SolvedMethod):
        spec = replace(spec, settings=method.encoder_settings(own_settings(method, config)))
    specs = method.default_views(spec.image_size, spec.channels)
    views = changed(specs, config.data.views, any_count=Images.of(method).any_count)
    data = config.data.model_dump()
    return ImageInputs(spec.image_size, spec.channels, data["mean"], data["std"], views, spec)


def measured_precision(spec: EncoderSpec, batch_size: int) -> tuple[str, str]:
    """The precision that trains an encoder faster on this machine's processors, measured on noise, and the reason."""
    height, width = spec.image_size
    if min(height, width) < _SMALLEST_IN_HALF:
        return "fp32", "bfloat16 is not safe for images this small"
    images = torch.rand(min(max(1, _TRIAL_PIXELS // (height * width)), batch_size), spec.channels, height, width)
    return faster_precision(build_encoder(spec, fetch=False), images, prepare=spell_out_attention)


def _spec(config: ImageRunConfig) -> EncoderSpec:
    """The encoder of a configuration; some of its values may still be ``auto``."""
    encoder, data = config.encoder.model_dump(), config.data.model_dump()
    height, width = data["image_size"]
    return EncoderSpec(
        encoder["name"],
        (height, width),
        data["channels"],
        encoder["stem"],
        encoder["patch_size"] or "auto",
        "auto" if encoder["pool"] == "own" else encoder["pool"],
        encoder["pretrained"],
        drop_path=encoder["drop_path"],
    )


def decide_images(draft: Draft, scan: Scan, *, largest: int | None = None) -> None:
    """Decide how images are read and normalised.

    Args:
        draft: the settings.
        scan: the scan of the images.
        largest: the longest side in pixels that the method looks at; None for any.
    """
    size = draft.decide("data.image_size", *natural_size(scan.sizes, largest))
    if isinstance(size, int):
        draft.settings["data"]["image_size"] = (size, size)
    draft.decide("data.channels", scan.channels, "what the images have")
    draft.decide("data.mean", [round(value, 6) for value in scan.mean], "measured")
    draft.decide("data.std", [round(value, 6) for value in scan.std], "measured")
    draft.decide("data.views", "own", "the method's own")
    draft.decide("data.shrink_to", None, "read whole; a plan for minutes shrinks large images")
    gigabytes = round(usable_memory() / 4e9, 1)
    draft.decide("data.cache_gigabytes", gigabytes, "a quarter of the memory that this process may use")
    _require_one_per_channel(draft.settings["data"])


def natural_size(sizes: np.ndarray, largest: int | None = None) -> tuple[tuple[int, int], str]:
    """The images' own size if it is small and the same for all; else the largest usual size below the median image."""
    (height, width), why = _own_size(sizes)
    if largest is None or max(height, width) <= largest:
        return (height, width), why
    scale = largest / max(height, width)
    return (round(scale * height), round(scale * width)), f"the method looks at {largest} px at most; {why}"


def _own_size(sizes: np.ndarray) -> tuple[tuple[int, int], str]:
    """The size without a limit, and the reason for it."""
    heights, widths = sizes[:, 0], sizes[:, 1]
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


def _median(values: np.ndarray) -> float:
    return float(sorted(values.tolist())[len(values) // 2])
