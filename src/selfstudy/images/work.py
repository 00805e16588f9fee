"""Pretraining on images: the data, the encoder and the batches for :mod:`selfstudy.runs.pretraining`."""

import time
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from copy import copy
from dataclasses import replace

import torch
from rich.console import Console
from torch import Tensor, nn

from selfstudy.config import RunConfig
from selfstudy.data.batches import Passes, Shard
from selfstudy.data.order import EpochOrder
from selfstudy.encoders.attention import spell_out_attention
from selfstudy.encoders.store import save_encoder
from selfstudy.encoders.timm import TimmEncoder, build_encoder, spec_of
from selfstudy.errors import DataError, EnvironmentFault, UsageError
from selfstudy.images.batches import TrainingData, render
from selfstudy.images.config import ImageDataConfig, ImageRunConfig
from selfstudy.images.decode import BadInput
from selfstudy.images.embedder import Embedder
from selfstudy.images.opening import open_source
from selfstudy.images.prospect import (
    Decision,
    Prospect,
    fixed,
    free_memory,
    is_planned,
    parts_for,
    surely_fits,
    with_method,
    with_side,
)
from selfstudy.images.readings import open_eval_set
from selfstudy.images.resolve import ImageInputs, resolve
from selfstudy.images.scan import Data, Scan, scan
from selfstudy.images.solve import passes_of, resolve_solved
from selfstudy.images.sources import Source
from selfstudy.images.statistics import enough, set_on_images
from selfstudy.images.whitening import whiten_by_scan
from selfstudy.machine.allocator import freed_memory_returned
from selfstudy.machine.devices import best_device
from selfstudy.methods import method_class
from selfstudy.methods.base import Method
from selfstudy.methods.reads import Images
from selfstudy.methods.solved import SolvedMethod
from selfstudy.nn.modes import evaluation_mode
from selfstudy.ops.random import initial_seed
from selfstudy.runs.folder import RunFolder
from selfstudy.runs.modality import Work
from selfstudy.runs.resolved import Resolved, own_settings
from selfstudy.runs.trial import StepCost, step_cost
from selfstudy.runs.whitening import allowance
from selfstudy.train.loop import Render
from selfstudy.train.monitor import Unit
from selfstudy.train.readings import EvalSet
from selfstudy.views.contact_sheet import contact_sheet
from selfstudy.views.preprocess import Preprocessing

_SHOWN = 8  # images on the contact sheet
_TIMED = 8  # images whose embedding is timed
_FILES_SECONDS = 3.0  # for the last checkpoint, the encoder's files, and the start and the end of the process


def open_data(data: object, config: ImageDataConfig, console: Console, *, labels: bool = False) -> Data:
    """Open and scan the training data, and print what was found.

    Args:
        data: the data, in any form that :func:`selfstudy.images.opening.open_source` opens.
        config: the settings of the data.
        console: the console that shows the number of images, and warnings.
        labels: True if the method needs labels.

    Raises:
        UsageError: the data does not exist, or is of an unknown kind.
        DataError: there are no images, or too many of them cannot be used.
    """
    return scanned(open_source(data, labels=labels), config, console)


def scanned(source: Source, config: ImageDataConfig, console: Console) -> Data:
    """The scan of opened data; what was found is printed. See :func:`open_data`."""
    channels = None if config.channels == "auto" else config.channels
    started = time.perf_counter()
    memory = None if config.cache_gigabytes == "auto" else int(config.cache_gigabytes * 10**9)
    side = None if config.shrink_to == "auto" else config.shrink_to
    found = scan(source, channels=channels, max_bad=config.max_bad, memory_bytes=memory, side=side)
    console.print(
        f"data     {source.describe()}: {len(found.good):,} usable images"
        f" ({len(source) - len(found.good)} skipped) in {time.perf_counter() - started:.1f} s",
        highlight=False,
    )
    for warning in found.warnings:
        console.print(f"         {warning}", highlight=False)
    return Data(source, found)


def build_method(config: RunConfig, inputs: ImageInputs, *, fetch: bool = True) -> Method:
    """The method of a configuration with a new encoder.

    Args:
        config: the settings; of those of training, only the seed, the precision and the device are used.
        inputs: the decisions about the inputs and the encoder.
        fetch: False to download no weights of timm, because those of a checkpoint are loaded next.

    Raises:
        UsageError: a setting that the method does not have, or a value that it does not allow.
    """
    torch.manual_seed(initial_seed(config.train.seed))
    kind = method_class(config.method["name"])
    method = kind(build_encoder(inputs.encoder, fetch=fetch), own_settings(kind, config))
    if config.train.precision == "bf16" and config.train.device == "cpu":
        spell_out_attention(method)
    return method


class ImageWork(Work):
    """Scanned images to pretrain on."""

    opened: Data
    decision: Decision | None = None  # the plan, if there is one
    _prospect: Prospect

    def __init__(self, data: object, config: ImageRunConfig, console: Console) -> None:
        self._began, self._console = time.monotonic(), console
        config, self._reasons = with_method(config)
        self._device = best_device(config.train.device)[0]
        self._config, self._method = config, method_class(config.method["name"])
        self._source = open_source(data, labels=Images.of(self._method).labels)
        if issubclass(self._method, SolvedMethod):
            self._config, reasons = with_side(config, self._source, self._method.largest_side)
            self._reasons |= reasons
        if not self._is_planned():  # else the plan says how large the images are read
            self.opened = scanned(self._source, self._config.data, console)

    def _is_planned(self) -> bool:
        return is_planned(self._config) and not issubclass(self._method, SolvedMethod)

    def resolve(self) -> Resolved[ImageInputs]:
        """The configuration with everything decided; for a budget in minutes, by measurements on this machine."""
        if self._is_planned():
            return self._planned()
        if issubclass(self._method, SolvedMethod):
            spent = time.monotonic() - self._began
            resolved = resolve_solved(self._config, self.opened.scan, self._method, spent=spent)
        else:
            resolved = self._within_memory(resolve(self._config, self.opened.scan, self._method))
        return replace(resolved, reasons=self._reasons | resolved.reasons)

    def _planned(self) -> Resolved[ImageInputs]:
        """The configuration by a plan; the images are scanned in the size that it needs."""
        self._prospect = Prospect.of(self._config, self._method, self._source)
        return self._decided(self._prospect.plan(self._trial, time.monotonic() - self._began))

    def _within_memory(self, resolved: Resolved[ImageInputs]) -> Resolved[ImageInputs]:
        """The configuration with more micro-batches if the memory asks for it; only if their number is open."""
        given, batch = self._config.train, resolved.train.batch_size
        if given.accumulate != "auto" or given.devices > 1 or resolved.train.device != "cpu" or surely_fits(resolved):
            return resolved
        cost = self._trial(self.opened, resolved, seconds=0.0)
        parts = parts_for(cost, batch)
        if parts == 1:
            return resolved
        config = fixed(self._config, {"train.accumulate": parts})
        again = resolve(config, self.opened.scan, self._method)
        why = (
            f"all {batch} images at once need {cost.memory(batch) / 1e9:.0f} GB, {free_memory() / 1e9:.0f} GB are free"
        )
        return replace(again, reasons=again.reasons | {"train.accumulate": why})

    def planned_seconds(self) -> float | None:
        """See :class:`selfstudy.runs.modality.Work`."""
        return None if self.decision is None else self.decision.step_seconds

    def resolve_again(self, step_seconds: float) -> Resolved[ImageInputs] | None:
        """See :class:`selfstudy.runs.modality.Work`; the images stay as large as they were read."""
        before = self.decision
        assert before is not None  # there is a planned time of a step
        spent, times = time.monotonic() - self._began, step_seconds / before.step_seconds
        self._prospect.config = fixed(self._prospect.config, {"data.shrink_to": before.config.data.shrink_to})
        try:
            plan = self._prospect.plan_again(before, times, self._trial, spent)
        except (UsageError, EnvironmentFault):
            return None  # what runs is slow, and all else is slower
        if plan.config == before.config:
            return None
        why = f"planned again after {spent:.0f} s: a step took {step_seconds:.2g} s, not {before.step_seconds:.2g} s"
        reasons = before.reasons | {key: f"{why}; {reason}" for key, reason in plan.reasons.items()}
        return self._decided(plan._replace(reasons=reasons, notes=(why, *plan.notes)))

    def _decided(self, plan: Decision) -> Resolved[ImageInputs]:
        """The configuration of a plan."""
        if self.decision is None:
            with freed_memory_returned() if self._device == "cpu" else nullcontext():
                self.opened = scanned(self._source, plan.config.data, self._console)
        self.decision = plan
        resolved = resolve(plan.config, self.opened.scan, self._method, planned_steps=plan.steps)
        return replace(resolved, reasons=self._reasons | resolved.reasons | plan.reasons, notes=plan.notes)

    def _trial(self, opened: Data, resolved: Resolved[ImageInputs], *, seconds: float) -> StepCost:
        """The cost of a step on a few images."""
        part = copy(self)
        part.opened = opened
        return step_cost(part, resolved, largest=len(opened.scan.good), seconds=seconds)

    def unit(self, resolved: Resolved[ImageInputs]) -> Unit:
        """Speed is counted in images."""
        return Unit()

    def build_method(self, resolved: Resolved[ImageInputs], *, fetch: bool = True) -> Method:
        """See :func:`build_method`."""
        return build_method(resolved.config, resolved.inputs, fetch=fetch)

    def fingerprint(self) -> tuple[int, str]:
        """The number of inputs of the source, and its digest."""
        return len(self.opened.source), self.opened.source.fingerprint()

    def write_beginning(self, folder: RunFolder, resolved: Resolved[ImageInputs]) -> None:
        """Write the scan as ``inputs.parquet``, and a sheet of views as ``views.png``."""
        source, found = self.opened
        found.write(folder.inputs)
        sheet = contact_sheet(_first_images(source, found), resolved.inputs.specs, seed=resolved.train.seed)
        sheet.save(folder.views)

    def eval_set(self, labelled: object, method: Method, resolved: Resolved[ImageInputs]) -> EvalSet:
        """A part of the train images of labelled data."""
        inputs = resolved.inputs
        return open_eval_set(labelled, Preprocessing(inputs.size, inputs.channels, inputs.mean, inputs.std))

    def batches(self, resolved: Resolved[ImageInputs], shard: Shard) -> tuple[TrainingData, Render]:
        """The crops, and the function that turns them into views."""
        inputs, train, (source, found) = resolved.inputs, resolved.train, self.opened
        data = TrainingData(
            EpochOrder(train.seed, len(found.good), train.batch_size),
            inputs.specs,
            images=found.images,
            source=source,
            indices=found.good.tolist(),
            channels=found.channels,
            labels=_labels(resolved.method, self.opened),
            shard=shard,
            side=found.side,
        )
        return data, lambda crops, device: render(crops, data.specs, (inputs.mean, inputs.std), device)

    def passes(self, resolved: Resolved[ImageInputs]) -> Passes:
        """See :func:`selfstudy.images.solve.passes_of`."""
        inputs, train = resolved.inputs, resolved.train
        preprocessing = Preprocessing(inputs.size, inputs.channels, inputs.mean, inputs.std)
        side = self.opened.scan.side
        return passes_of(*self.opened, preprocessing, side, seed=train.seed, batch=train.batch_size)

    def note_unreadable(self, folder: RunFolder, unreadable: Mapping[int, str], console: Console) -> None:
        """Write a list of the inputs that the scan accepted and training could not read, with the reasons."""
        if not unreadable:
            return
        source, found = self.opened
        lines = [{"id": source.ids[int(found.good[position])], "reason": why} for position, why in unreadable.items()]
        folder.append(folder.unreadable, lines)
        console.print(
            f"skipped  {len(lines)} inputs that became unreadable, listed in {folder.unreadable}", highlight=False
        )

    def seconds_to_finish(self, method: Method, resolved: Resolved[ImageInputs]) -> float:
        """See :class:`selfstudy.runs.modality.Work`; the passes over images at the end are timed on a few of noise."""
        if resolved.train.device != "cpu":
            return _FILES_SECONDS  # a GPU needs no time worth counting for so few images
        inputs, (_, encoder) = resolved.inputs, method.representation()
        images = torch.zeros(_TIMED, inputs.channels, *inputs.size)
        with evaluation_mode(encoder), torch.inference_mode():
            encoder(images)  # the first pass sets up memory and kernels
            began = time.perf_counter()
            encoder(images)
        each = (time.perf_counter() - began) / _TIMED
        available, allowed = len(self.opened.scan.good), allowance(resolved.train.duration, 0)
        whitening = min(each * min(allowed.inputs, available), allowed.seconds or 0.0)
        return _FILES_SECONDS + each * min(enough(inputs.size), available) + whitening

    def finish(self, folder: RunFolder, method: Method, resolved: Resolved[ImageInputs], console: Console) -> None:
        """Write ``encoder/``, with the normalisation statistics of the training images."""
        which, trained = method.representation()
        encoder, inputs, (source, found) = _rebuilt(trained), resolved.inputs, self.opened
        preprocessing = Preprocessing(inputs.size, inputs.channels, inputs.mean, inputs.std)
        device, began = torch.device(resolved.train.device), time.perf_counter()
        layers, images = set_on_images(encoder, preprocessing, source=source, found=found, device=device)
        if layers:
            text = f"statistics of {layers} normalisation layers set on {images:,} training images"
            console.print(f"{text} in {time.perf_counter() - began:.1f} s", highlight=False)
        extra = {"weights": which, "method": resolved.config.method["name"], "seed": resolved.train.seed}
        extra |= {"statistics_images": images}
        save_encoder(encoder, folder.encoder, mean=inputs.mean, std=inputs.std, extra=extra)

    def whiten(self, folder: RunFolder, resolved: Resolved[ImageInputs], seen: int, console: Console) -> None:
        """Add whitening statistics of the training images to ``encoder/``."""
        embedder = Embedder.load(folder.encoder, device=resolved.train.device)
        allowed = allowance(resolved.train.duration, seen)
        whiten_by_scan(embedder, *self.opened, allowed=allowed, console=console)


def _first_images(source: Source, found: Scan) -> dict[int, Tensor]:
    """The first eight images by position, without those that turn out to be damaged."""
    images = {}
    for position in range(min(_SHOWN, len(found.good))):
        with suppress(BadInput):
            images[position] = found.image(source, position)
    return images


def _labels(cls: type[Method], opened: Data) -> Tensor | None:
    """The classes (N,) int64 of the usable images, for a method that learns from them."""
    if not Images.of(cls).labels:
        return None
    if opened.source.labels is None:
        raise DataError(
            f"{cls.__name__} learns from labels, and {opened.source.describe()} has none\n"
            "use class sub-folders or a list with a label column; the other methods need no labels"
        )
    return torch.from_numpy(opened.source.labels[opened.scan.good]).long()


def _rebuilt(encoder: nn.Module) -> TimmEncoder:
    """A copy as it will be loaded from its files: not compiled, and with statistics of its own on several devices."""
    assert isinstance(encoder, TimmEncoder)  # build_method made it, and a method returns it or a copy
    copy = build_encoder(spec_of(encoder.description), fetch=False)
    copy.network.load_state_dict(encoder.network.state_dict())
    return copy
