"""Pretraining on images: the data, the encoder and the batches for :mod:`selfstudy.runs.pretraining`."""

import time
from collections.abc import Mapping
from contextlib import suppress
from typing import NamedTuple

import torch
from rich.console import Console
from torch import Tensor, nn

from selfstudy.config import RunConfig
from selfstudy.data.batches import Passes, Shard
from selfstudy.data.order import EpochOrder
from selfstudy.encoders.attention import spell_out_attention
from selfstudy.encoders.store import save_encoder
from selfstudy.encoders.timm import TimmEncoder, build_encoder
from selfstudy.errors import DataError
from selfstudy.images.batches import TrainingData, render
from selfstudy.images.config import ImageDataConfig, ImageRunConfig
from selfstudy.images.decode import BadInput, with_channels
from selfstudy.images.embedder import Embedder
from selfstudy.images.opening import open_source
from selfstudy.images.resolve import ImageInputs, resolve
from selfstudy.images.scan import Scan, scan
from selfstudy.images.solve import passes_of, resolve_solved
from selfstudy.images.sources import Source, read_shrunk
from selfstudy.images.whitening import whiten_by_scan
from selfstudy.methods import method_class
from selfstudy.methods.base import Method
from selfstudy.methods.reads import Images
from selfstudy.methods.solved import SolvedMethod
from selfstudy.nn.modes import evaluation_mode
from selfstudy.ops.random import initial_seed
from selfstudy.runs.folder import RunFolder
from selfstudy.runs.modality import Work
from selfstudy.runs.resolved import Resolved, own_settings
from selfstudy.runs.whitening import allowance
from selfstudy.train.loop import Render
from selfstudy.train.monitor import Unit
from selfstudy.views.contact_sheet import contact_sheet
from selfstudy.views.preprocess import Preprocessing

_SHOWN = 8  # images on the contact sheet
_TIMED = 8  # images whose embedding is timed
_AT_THE_END = 2048  # images that are embedded after the last step, at most
_FILES_SECONDS = 3.0  # for the last checkpoint, the encoder's files, and the start and the end of the process


class Data(NamedTuple):
    """The opened and scanned training data."""

    source: Source
    scan: Scan


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
    source = open_source(data, labels=labels)
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

    def __init__(self, data: object, config: ImageRunConfig, console: Console) -> None:
        self._began = time.monotonic()
        self._config, self._method = config, method_class(config.method["name"])
        self.opened = open_data(data, config.data, console, labels=Images.of(self._method).labels)

    def resolve(self) -> Resolved[ImageInputs]:
        """The configuration with everything decided; a precision of ``auto`` is measured."""
        if issubclass(self._method, SolvedMethod):
            spent = time.monotonic() - self._began
            return resolve_solved(self._config, self.opened.scan, self._method, spent=spent)
        return resolve(self._config, self.opened.scan, self._method)

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
        images = _first_images(source, found, _side_of(resolved))
        sheet = contact_sheet(images, resolved.inputs.specs, seed=resolved.train.seed)
        sheet.save(folder.views)

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
            side=_side_of(resolved),
        )
        return data, lambda crops, device: render(crops, data.specs, (inputs.mean, inputs.std), device)

    def passes(self, resolved: Resolved[ImageInputs]) -> Passes:
        """See :func:`selfstudy.images.solve.passes_of`."""
        inputs = resolved.inputs
        preprocessing = Preprocessing(inputs.size, inputs.channels, inputs.mean, inputs.std)
        return passes_of(*self.opened, preprocessing, _side_of(resolved), seed=resolved.train.seed)

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
            began = time.perf_counter()
            encoder(images)
        each = (time.perf_counter() - began) / _TIMED
        available, allowed = len(self.opened.scan.good), allowance(resolved.train.duration, 0)
        whitening = min(each * min(allowed.inputs, available), allowed.seconds or 0.0)
        return _FILES_SECONDS + each * min(_AT_THE_END, available) + whitening

    def finish(self, folder: RunFolder, method: Method, resolved: Resolved[ImageInputs], console: Console) -> None:
        """Write ``encoder/``."""
        which, encoder = method.representation()
        extra = {"weights": which, "method": resolved.config.method["name"], "seed": resolved.train.seed}
        save_encoder(_plain(encoder), folder.encoder, mean=resolved.inputs.mean, std=resolved.inputs.std, extra=extra)

    def whiten(self, folder: RunFolder, resolved: Resolved[ImageInputs], seen: int, console: Console) -> None:
        """Add whitening statistics of the training images to ``encoder/``."""
        embedder = Embedder.load(folder.encoder, device=resolved.train.device)
        allowed = allowance(resolved.train.duration, seen)
        whiten_by_scan(embedder, *self.opened, allowed=allowed, console=console)


def _side_of(resolved: Resolved[ImageInputs]) -> int | None:
    """The shorter side in pixels that images are shrunk to when they are read; None for whole images."""
    side: int | None = resolved.config.data.model_dump()["shrink_to"]
    return side


def _first_images(source: Source, found: Scan, side: int | None) -> dict[int, Tensor]:
    """The first eight images by position, without those that turn out to be damaged."""
    images = {}
    for position, index in enumerate(found.good[:_SHOWN].tolist()):
        with suppress(BadInput):
            images[position] = with_channels(read_shrunk(source, index, side), found.channels)
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


def _plain(encoder: nn.Module) -> TimmEncoder:
    """The encoder, on the CPU and in the default memory layout."""
    assert isinstance(encoder, TimmEncoder)  # build_method made it, and a method returns it or a copy
    return encoder.cpu().to(memory_format=torch.contiguous_format)
