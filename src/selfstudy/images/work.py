"""Pretraining on images: the data, the encoder and the batches that :mod:`selfstudy.runs.pretraining` puts together."""

import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NamedTuple

import torch
from rich.console import Console
from torch import Tensor, nn

from selfstudy import config as cfg
from selfstudy.data.batches import Shard
from selfstudy.data.order import EpochOrder
from selfstudy.encoders.attention import spell_out_attention
from selfstudy.encoders.store import save_encoder
from selfstudy.encoders.timm import EncoderSpec, TimmEncoder, build_encoder
from selfstudy.errors import DataError
from selfstudy.images.batches import TrainingData, render
from selfstudy.images.decode import BadInput, with_channels
from selfstudy.images.opening import open_source
from selfstudy.images.resolve import resolve
from selfstudy.images.scan import Scan, scan
from selfstudy.images.sources import Source
from selfstudy.machine.precision import faster_precision
from selfstudy.methods import method_class
from selfstudy.methods.base import Images, Method
from selfstudy.ops.random import initial_seed
from selfstudy.runs.draft import Resolved
from selfstudy.runs.folder import RunFolder
from selfstudy.train.loop import Render
from selfstudy.train.monitor import Unit
from selfstudy.views.contact_sheet import contact_sheet
from selfstudy.views.presets import changed
from selfstudy.views.spec import Spec

_TRIAL_PIXELS = 64 * 224 * 224  # a batch of small images, part of one of large ones: few small ones would tell nothing
# Images of 16 px become maps of one pixel in a ResNet. Of such, torch 2.14's convolutions in bfloat16 on processors now
# and then give a gradient of NaN for the weights that see nothing but padding.
_SMALLEST_IN_HALF = 24
_SHOWN = 8  # images on the contact sheet


class Data(NamedTuple):
    """The opened and scanned training data."""

    source: Source
    scan: Scan


def open_data(data: Any, config: cfg.DataConfig, console: Console, *, labels: bool = False) -> Data:
    """Open and scan the training data, saying what was found."""
    source = open_source(data, labels=labels)
    channels = None if config.channels == "auto" else config.channels
    started = time.perf_counter()
    memory = None if config.cache_gigabytes == "auto" else int(config.cache_gigabytes * 10**9)
    found = scan(source, channels=channels, max_bad=config.max_bad, memory_bytes=memory)
    console.print(
        f"data     {source.describe()}: {len(found.good):,} usable images"
        f" ({len(source) - len(found.good)} skipped) in {time.perf_counter() - started:.1f} s",
        highlight=False,
    )
    for warning in found.warnings:
        console.print(f"         {warning}", highlight=False)
    return Data(source, found)


def build_method(resolved: Resolved, *, fetch: bool = True) -> tuple[Method, Resolved]:
    """The method around a fresh encoder, and the configuration with the encoder's own choices filled in.

    Args:
        resolved: what to build.
        fetch: see :func:`selfstudy.encoders.timm.build_encoder`.
    """
    config = resolved.config
    torch.manual_seed(initial_seed(config.train.seed))
    encoder = build_encoder(encoder_spec(resolved), fetch=fetch)
    chosen = config.encoder.model_copy(
        update={"stem": encoder.description["stem"], "patch_size": encoder.description["patch_size"] or "auto"}
    )
    cls = method_class(config.method["name"])
    settings = {key: value for key, value in config.method.items() if key != "name"}
    method = cls(encoder, cfg.validate(cls.Config, settings, "method"))
    reasons = resolved.reasons | {"encoder.stem": encoder.reason}
    train = config.train
    if train.precision == "auto":
        precision, reasons["train.precision"] = _measured_precision(encoder, config)
        train = train.model_copy(update={"precision": precision})
    if train.precision == "bf16" and train.device == "cpu":
        spell_out_attention(method)
    changed_parts = {"encoder": chosen, "train": train}
    return method, resolved._replace(config=config.model_copy(update=changed_parts), reasons=reasons)


def _measured_precision(encoder: nn.Module, config: cfg.RunConfig) -> tuple[str, str]:
    """What trains this encoder faster here, tried on noise."""
    height, width = config.data.size
    if min(height, width) < _SMALLEST_IN_HALF:
        return "fp32", "bfloat16 is not safe for images this small"
    count = min(max(1, _TRIAL_PIXELS // (height * width)), cfg.settled(config.train.batch_size))
    images = torch.rand(count, cfg.settled(config.data.channels), *config.data.size)
    return faster_precision(encoder, images, prepare=spell_out_attention)


def encoder_spec(resolved: Resolved) -> EncoderSpec:
    """The encoder that a configuration asks for."""
    config = resolved.config
    return EncoderSpec(
        name=config.encoder.name,
        image_size=config.data.size,
        channels=cfg.settled(config.data.channels),
        stem=config.encoder.stem,
        patch_size=config.encoder.patch_size,
        pool=config.encoder.pool,
        pretrained=config.encoder.pretrained,
        long_run=resolved.long_run,
    )


def specs_of(method: type[Method], config: cfg.RunConfig) -> list[Spec]:
    """What the method receives of every image, at the run's image size, with the changes the run asks for."""
    specs = method.default_views(config.data.size, cfg.settled(config.data.channels))
    return changed(specs, config.data.views, any_count=Images.of(method).any_count)


class ImageWork:
    """Images, as :class:`selfstudy.runs.modality.Work` asks for them."""

    def __init__(self, data: Any, config: cfg.RunConfig, console: Console) -> None:
        self.cls = method_class(config.method["name"])
        self.opened = open_data(data, config.data, console, labels=Images.of(self.cls).labels)
        self.resolved = resolve(config, self.opened.scan, self.cls)
        self.unit = Unit()
        self.plateau: tuple[float, str] | None = None

    def build_method(self, *, fetch: bool = True) -> tuple[Method, Resolved]:
        """See :func:`build_method`."""
        return build_method(self.resolved, fetch=fetch)

    def fingerprint(self) -> tuple[int, str]:
        """Of the source."""
        return len(self.opened.source), self.opened.source.fingerprint()

    def write_beginning(self, folder: RunFolder, resolved: Resolved) -> None:
        """The scan and a contact sheet of the views, beside what every run has."""
        source, found = self.opened
        found.write(folder.inputs)
        specs = specs_of(self.cls, resolved.config)
        contact_sheet(_first_images(source, found), specs, seed=resolved.config.train.seed).save(folder.views)

    def batches(self, config: cfg.RunConfig, shard: Shard) -> tuple[TrainingData, Render]:
        """Crops, and what makes views of them."""
        train, (source, found) = config.train, self.opened
        data = TrainingData(
            EpochOrder(train.seed, len(found.good), cfg.settled(train.batch_size)),
            specs_of(self.cls, config),
            images=found.images,
            source=source,
            indices=found.good.tolist(),
            channels=found.channels,
            labels=_labels(self.cls, self.opened),
            shard=shard,
        )
        normalization = cfg.settled(config.data.mean), cfg.settled(config.data.std)
        return data, lambda crops, device: render(crops, data.specs, normalization, device)

    def note_unreadable(self, folder: RunFolder, unreadable: Mapping[int, str], console: Console) -> None:
        """List inputs, by position and reason, that the scan found whole and training could not read."""
        if not unreadable:
            return
        source, found = self.opened
        lines = [{"id": source.ids[int(found.good[position])], "reason": why} for position, why in unreadable.items()]
        folder.append(folder.unreadable, lines)
        console.print(
            f"skipped  {len(lines)} inputs that became unreadable, listed in {folder.unreadable}", highlight=False
        )

    def finish(self, folder: RunFolder, method: Method, resolved: Resolved, console: Console) -> None:
        """Write ``encoder/``: what users take away."""
        which, encoder = method.representation()
        config = resolved.config
        save_encoder(
            _plain(encoder),
            folder.encoder,
            mean=cfg.settled(config.data.mean),
            std=cfg.settled(config.data.std),
            extra={"weights": which, "method": config.method["name"], "seed": config.train.seed},
        )


def _first_images(source: Source, found: Scan) -> dict[int, Tensor]:
    """The first few images by position, those left out that only now turn out to be damaged."""
    images = {}
    for position, index in enumerate(found.good[:_SHOWN].tolist()):
        with suppress(BadInput):
            images[position] = with_channels(source.read(index), found.channels)
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
    """The encoder on the CPU in the default memory layout."""
    assert isinstance(encoder, TimmEncoder)  # build_method made it, and a method gives back that or a copy
    return encoder.cpu().to(memory_format=torch.contiguous_format)
