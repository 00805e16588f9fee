"""Runs of solved methods on images: their settings, and the passes over the images."""

from collections.abc import Iterator

import torch
from torch import Tensor

from selfstudy.config import OptimizerConfig, validate
from selfstudy.data.batches import Passes
from selfstudy.errors import UsageError
from selfstudy.images.config import ImageRunConfig
from selfstudy.images.decode import BadInput, with_channels
from selfstudy.images.resolve import ImageInputs, decide_images, inputs_of
from selfstudy.images.scan import Scan
from selfstudy.images.sources import Source, read_shrunk
from selfstudy.methods.base import DataFacts
from selfstudy.methods.solved import SolvedMethod
from selfstudy.ops.duration import Duration
from selfstudy.ops.random import permutation
from selfstudy.runs.draft import Draft, require_one_batch
from selfstudy.runs.resolved import Resolved, resolved
from selfstudy.views.preprocess import Preprocessing

_BATCH = 64  # images prepared at once; larger ones are no faster and need more memory
_ORDER_STREAM = 0x70617373
# Settings of steps and of views, with the only values that a solved method has.
_WITHOUT_STEPS: dict[str, dict[str, object]] = {
    "train": {"accumulate": 1, "workers": 0, "compile": False, "precision": "fp32"},
    "data": {"views": "own"},
}


def resolve_solved(
    config: ImageRunConfig, scan: Scan, method: type[SolvedMethod], *, spent: float = 0.0
) -> Resolved[ImageInputs]:
    """The configuration of a solved method with everything decided; its optimizer settings stay ``auto``.

    Args:
        config: validated settings, some of them ``auto``.
        scan: the scan of the training images.
        method: the class that the configuration names.
        spent: the seconds of a budget in minutes that are gone.

    Raises:
        DataError: there are fewer than two images.
        EnvironmentFault: the machine does not have the device.
        UsageError: a setting is unknown or impossible, or has no meaning for a solved method.
    """
    draft = Draft(config)
    _require_no_steps(draft, method)
    decide_images(draft, scan, largest=method.largest_side)
    images = len(scan.good)
    draft.decide("encoder.name", method.encoder_name, "the encoder that the method solves")
    draft.decide("train.batch_size", min(_BATCH, images), "images that are prepared at once")
    require_one_batch(images, 2, "usable images")
    draft.decide("train.accumulate", 1, "nothing is accumulated")
    draft.decide("train.workers", 0, "the passes read in this process")
    draft.decide("train.compile", False, "nothing is compiled")
    draft.decide("train.precision", "fp32", "sums over all images need it")
    draft.decide_machine()
    draft.decide("train.duration", "1 epochs", "every image is read once for the map")
    size, channels = tuple(draft.get("data.image_size")), draft.get("data.channels")
    duration = Duration.parse(draft.get("train.duration"))
    facts = DataFacts(
        inputs=images,
        size=size,
        channels=channels,
        batch_size=draft.get("train.batch_size"),
        total_steps=len(method.stages),
        seconds=60 * duration.amount - spent if duration.unit == "minutes" else None,
    )
    draft.decide_recipe(method, facts)
    for key, value in {"stem": "stock", "patch_size": None, "pool": "own"}.items():
        draft.decide(f"encoder.{key}", value, "it has none")
    decided = validate(ImageRunConfig, draft.settings)
    return resolved(decided, method, inputs_of(decided, method), reasons=draft.reasons)


def _require_no_steps(draft: Draft, method: type[SolvedMethod]) -> None:
    """Refuse settings that only a stepped method has.

    Raises:
        UsageError: naming the setting.
    """
    name, given = method.__name__, draft.settings
    if draft.get("encoder.name") not in ("auto", method.encoder_name):
        raise UsageError(f"{name} solves an encoder of its own, not {draft.get('encoder.name')}\nleave the encoder out")
    for group, usual in {"optimizer": OptimizerConfig().model_dump(), **_WITHOUT_STEPS}.items():
        for key, value in usual.items():
            if given[group][key] not in (value, "auto"):
                raise UsageError(
                    f"{name} takes no steps, so {group}.{key}={given[group][key]} would change nothing\nleave it out"
                )
    if not draft.is_open("train.duration"):
        duration = Duration.parse(draft.get("train.duration"))
        if duration.unit != "minutes" and str(duration) != "1 epochs":
            raise UsageError(
                f"{name} takes no steps, so it cannot train for {duration}\nuse --minutes, or leave the length out"
            )
    if draft.get("train.devices") > 1:
        raise UsageError(f"{name} is solved by one process\nleave train.devices out")


def passes_of(
    source: Source, found: Scan, preprocessing: Preprocessing, side: int | None, *, seed: int, batch: int = _BATCH
) -> Passes:
    """The images in whole passes, prepared as for embedding, in an order that depends on the seed.

    Args:
        source: the images.
        found: their scan.
        preprocessing: the size and the normalisation of the encoder's inputs.
        side: the shorter side in pixels that images are shrunk to when they are read; None for whole images.
        seed: the seed of the run.
        batch: the number of images prepared at once.
    """
    order = permutation(len(found.good), seed, _ORDER_STREAM).tolist()

    def read(position: int) -> Tensor:
        if found.images is not None:
            return found.images[position]
        return with_channels(read_shrunk(source, int(found.good[position]), side), found.channels)

    def batches(at_most: int, failed: dict[int, str]) -> Iterator[Tensor]:
        for start in range(0, min(at_most, len(order)), batch):
            prepared = []
            for position in order[start : min(start + batch, at_most)]:
                try:
                    prepared.append(preprocessing.prepare(read(position)))
                except BadInput as error:
                    failed[position] = str(error)
            if prepared:
                yield torch.stack(prepared)

    return Passes(len(order), batches)
