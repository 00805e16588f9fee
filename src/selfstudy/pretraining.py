"""Puts a run together: data, views, encoder, method, optimizer, monitors, checkpoints; then trains it."""

import json
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning.fabric import Fabric
from rich.console import Console
from timm.layers import convert_sync_batchnorm
from torch import nn

from selfstudy import config as cfg
from selfstudy.data.loader import Shard, TrainingData, render
from selfstudy.data.order import EpochOrder
from selfstudy.data.scan import Scan, scan
from selfstudy.data.sources import Source, open_source
from selfstudy.encoders.store import save_encoder
from selfstudy.encoders.timm import EncoderSpec, TimmEncoder, build_encoder
from selfstudy.errors import DataError, EnvironmentFault, TrainingError, UsageError
from selfstudy.methods import method_class
from selfstudy.methods.base import Method
from selfstudy.ops.random import fold
from selfstudy.ops.schedules import Cosine
from selfstudy.records import note_unreadable, print_plan, write_beginning
from selfstudy.resolve import Resolved, best_device, resolve
from selfstudy.run_folder import RunFolder
from selfstudy.train.checkpoint import Checkpoint, CheckpointStore
from selfstudy.train.clock import Clock
from selfstudy.train.lock import run_lock
from selfstudy.train.loop import Outcome, Plan, Trainer
from selfstudy.train.memory import keep_freed_memory
from selfstudy.train.monitor import MetricsLog, ProgressBar
from selfstudy.train.optimizer import build_optimizer
from selfstudy.train.precision import faster_precision
from selfstudy.views.presets import changed
from selfstudy.views.spec import Spec
from selfstudy.watching import Health

_FREE_ON_RESUME = {"train.workers", "train.checkpoint_every", "train.keep", "train.log_every", "train.device"}
_TRIAL_IMAGES = 64
_ENCODER_STREAM = 0x656E63  # keeps the initial weights apart from every other use of the seed


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


def build_method(resolved: Resolved) -> tuple[Method, Resolved]:
    """The method around a fresh encoder, and the configuration with the encoder's own choices filled in."""
    config = resolved.config
    torch.manual_seed(initial_seed(config.train.seed))
    encoder = build_encoder(encoder_spec(resolved))
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
    changed_parts = {"encoder": chosen, "train": train}
    return method, resolved._replace(config=config.model_copy(update=changed_parts), reasons=reasons)


def _measured_precision(encoder: nn.Module, config: cfg.RunConfig) -> tuple[str, str]:
    """What trains this encoder faster here, tried on noise."""
    count = min(_TRIAL_IMAGES, cfg.settled(config.train.batch_size))
    return faster_precision(encoder, torch.rand(count, cfg.settled(config.data.channels), *config.data.size))


def initial_seed(seed: int) -> int:
    """What torch is seeded with before the encoder is built, so that its untrained twin can be rebuilt."""
    return int(fold(seed, _ENCODER_STREAM)) & (2**63 - 1)


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
    return changed(method.default_views(config.data.size, cfg.settled(config.data.channels)), config.data.views)


def derive(data: Any, config: cfg.RunConfig, *, console: Console) -> str:
    """The configuration that :func:`pretrain` would train with, every ``auto`` decided, as YAML with the reasons."""
    cls = method_class(config.method["name"])
    opened = open_data(data, config.data, console, labels=cls.uses_labels)
    _, resolved = build_method(resolve(config, opened.scan, cls))
    return cfg.to_yaml(resolved.config, resolved.reasons)


def pretrain(
    data: Any, config: cfg.RunConfig, folder: RunFolder, *, resume: bool, overwrite: bool, console: Console
) -> Outcome:
    """Train in a run folder, from the start or from its last checkpoint.

    With several devices every process comes through here; only the first one writes and prints.

    Raises:
        SelfstudyError: one of its kinds for everything that can go wrong; the message says what to do.
    """
    cls = method_class(config.method["name"])
    if not resume and not overwrite:
        folder.refuse_if_used()
    fabric = launch(config.train)
    console = console if fabric.is_global_zero else Console(quiet=True)
    opened = open_data(data, config.data, console, labels=cls.uses_labels)
    resolved = resolve(config, opened.scan, cls)
    with ExitStack() as stack:
        if fabric.is_global_zero:
            _take(folder, stack, overwrite=overwrite, console=console)
        fabric.barrier()
        method, resolved = build_method(resolved)
        resolved = fabric.broadcast(resolved)  # what one process measured holds for all
        store = CheckpointStore(folder.checkpoints, keep=resolved.config.train.keep)
        checkpoint = _checkpoint_to_resume(folder, store, resolved, opened, console) if resume else None
        if fabric.is_global_zero:
            store.clean()
            store.require_space(method.state_dict())
            if checkpoint is None:
                write_beginning(folder, resolved, opened.source, opened.scan, specs_of(cls, resolved.config))
            else:
                folder.truncate_logs(checkpoint.step)
        print_plan(resolved, console)
        if fabric.world_size > 1 and fabric.device.type == "cuda":  # torch synchronises BatchNorm on GPUs only
            method = convert_sync_batchnorm(method)
        trainer = make_trainer(fabric, method, resolved, opened, folder)
        if checkpoint is not None:
            trainer.restore(checkpoint)
        health = Health(folder, resolved.config, method)
        log = MetricsLog(folder.metrics, every=resolved.config.train.log_every)
        bar = ProgressBar(console)
        try:
            outcome = trainer.run(store, monitors=[log, health] if fabric.is_global_zero else [], bar=bar)
        finally:
            bar.close()
            note_unreadable(folder, trainer.unreadable, opened.source, opened.scan, console)
        _require_steps(outcome)
        if fabric.is_global_zero:
            _save_encoder(folder, method, resolved)
    console.print(f"done     {outcome.steps:,} steps in {outcome.seconds:.0f} s; {health.last}", highlight=False)
    return outcome


def launch(train: cfg.TrainConfig) -> Fabric:
    """Fabric on the device and with the number of processes asked for, all of them started.

    Raises:
        EnvironmentFault: fewer devices than asked for.
    """
    device = best_device(train.device)[0] if train.device == "auto" else train.device
    best_device(device)  # refuses one that is not here
    try:
        fabric = Fabric(accelerator=device, devices=train.devices)  # the loop sees to the precision
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise EnvironmentFault(f"{train.devices} devices of kind {device!r} cannot be used: {reason}") from None
    fabric.launch()
    if device == "cpu":
        keep_freed_memory()
    return fabric


def _take(folder: RunFolder, stack: ExitStack, *, overwrite: bool, console: Console) -> None:
    """Make the folder this process's own for the length of ``stack``, an old run moved aside if that was asked for."""
    if overwrite and folder.is_used():
        with run_lock(folder.path):  # a run that is still being trained is not moved
            console.print(f"moved    the old run to {folder.move_aside()}", highlight=False)
    folder.create()
    stack.enter_context(run_lock(folder.path))


def make_trainer(fabric: Fabric, method: Method, resolved: Resolved, opened: Data, folder: RunFolder) -> Trainer:
    """The training loop around its parts."""
    config = resolved.config
    train, optimizer = config.train, config.optimizer
    batch_size, lr = cfg.settled(train.batch_size), cfg.settled(optimizer.lr)
    order = EpochOrder(train.seed, len(opened.scan.good), batch_size)
    data = TrainingData(
        order,
        specs_of(type(method), config),
        images=opened.scan.images,
        source=opened.source,
        indices=opened.scan.good.tolist(),
        channels=opened.scan.channels,
        labels=_labels(method, opened),
        shard=Shard(fabric.global_rank, fabric.world_size, train.accumulate),
    )
    normalization = cfg.settled(config.data.mean), cfg.settled(config.data.std)
    duration = cfg.Duration.parse(train.duration)
    plan = Plan(
        learning_rate=Cosine(lr, lr * optimizer.final_lr, cfg.settled(optimizer.warmup)),
        clip=cfg.settled(optimizer.clip),
        seed=train.seed,
        half=train.precision == "bf16",
        workers=cfg.settled(train.workers),
        checkpoint_every=cfg.Duration.parse(train.checkpoint_every),
        resume_hint=f"continue: selfstudy pretrain {config.data.path} --out {folder.path} --resume",
    )
    method.to(memory_format=torch.channels_last)  # 1.2 to 1.4 times faster convolutions on CPU, and no slower elsewhere
    return Trainer(
        fabric,
        method,
        optimizer=build_optimizer(
            method,
            name=optimizer.name,
            lr=lr,
            weight_decay=cfg.settled(optimizer.weight_decay),
            momentum=cfg.settled(optimizer.momentum),
            beta2=cfg.settled(optimizer.beta2),
        ),
        data=data,
        render=lambda crops, device: render(crops, data.specs, normalization, device),
        clock=lambda elapsed: Clock.of(
            duration, steps_per_epoch=order.steps_per_epoch, batch_size=batch_size, elapsed_seconds=elapsed
        ),
        plan=plan,
    )


def _labels(method: Method, opened: Data) -> torch.Tensor | None:
    """The classes (N,) int64 of the usable images, for a method that learns from them."""
    if not method.uses_labels:
        return None
    if opened.source.labels is None:
        raise DataError(
            f"{type(method).__name__} learns from labels, and {opened.source.describe()} has none\n"
            "use class sub-folders or a list with a label column; the other methods need no labels"
        )
    return torch.from_numpy(opened.source.labels[opened.scan.good]).long()


def _checkpoint_to_resume(
    folder: RunFolder, store: CheckpointStore, resolved: Resolved, opened: Data, console: Console
) -> Checkpoint | None:
    """The newest whole checkpoint, after checking that the run it belongs to is the one asked for."""
    if not folder.config.is_file():
        console.print(f"resume   {folder.path} holds no run yet; starting one", highlight=False)
        return None
    saved = cfg.build(cfg.read_yaml(folder.config))
    changes = _changes(saved, resolved.config)
    if changes:
        raise UsageError(
            "--resume cannot change these settings:\n"
            + "\n".join(f"  {key}: {old} -> {new}" for key, (old, new) in changes.items())
            + "\nleave them out, or start a new run with --out"
        )
    environment = json.loads(folder.environment.read_text(encoding="utf-8"))
    if environment["data_fingerprint"] != opened.source.fingerprint():
        raise DataError(
            f"the data is not what this run began with: {environment['inputs']} inputs then, {len(opened.source)} now\n"
            "bring the files back, or start a new run with --out"
        )
    checkpoint = store.latest()
    for rejected in store.rejected:
        console.print(f"resume   {rejected}", highlight=False)
    text = f"from step {checkpoint.step:,}" if checkpoint else "no checkpoint yet: from the beginning"
    console.print(f"resume   {text}", highlight=False)
    return checkpoint


def _changes(saved: cfg.RunConfig, asked: cfg.RunConfig) -> dict[str, tuple[Any, Any]]:
    """Settings that differ and may not; a longer duration in the same unit is an extension and allowed."""
    old, new = (cfg.flatten(config.model_dump(mode="json")) for config in (saved, asked))
    different = {key: (old.get(key), new.get(key)) for key in old | new if old.get(key) != new.get(key)}
    before, after = (cfg.Duration.parse(config.train.duration) for config in (saved, asked))
    if before.unit == after.unit and after.amount >= before.amount:
        different.pop("train.duration", None)
    return {
        key: pair for key, pair in different.items() if key not in _FREE_ON_RESUME and not key.startswith("health.")
    }


def _require_steps(outcome: Outcome) -> None:
    if outcome.steps < 1:
        raise TrainingError("no optimizer step was taken, so there is nothing to save\ngive a longer duration")


def _save_encoder(folder: RunFolder, method: Method, resolved: Resolved) -> None:
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


def _plain(encoder: nn.Module) -> TimmEncoder:
    """The encoder on the CPU in the default memory layout."""
    assert isinstance(encoder, TimmEncoder)  # build_method made it, and a method gives back that or a copy
    return encoder.cpu().to(memory_format=torch.contiguous_format)


def default_out(data: Any, method: str) -> Path:
    """``runs/NAME``: the data's own name and the method."""
    name = Path(str(data)).name if isinstance(data, str | Path) else "data"
    return Path("runs") / f"{name.replace(':', '-') or 'data'}-{method}"
