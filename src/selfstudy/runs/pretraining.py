"""Builds a run from data, encoder, method, optimizer, monitors and checkpoints, and trains it."""

import logging
import re
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from rich.console import Console
from timm.layers import convert_sync_batchnorm

from selfstudy import config as cfg
from selfstudy.data.batches import Shard
from selfstudy.disk.lock import run_lock
from selfstudy.disk.reading import read_json
from selfstudy.encoders.base import layer_rates
from selfstudy.errors import DataError, EnvironmentFault, FileRefusedError, TrainingError, UsageError, first_line
from selfstudy.machine.allocator import give_back_freed_memory, keep_freed_memory, return_large_blocks
from selfstudy.machine.devices import best_device
from selfstudy.machine.processors import limit_threads
from selfstudy.methods.base import Method
from selfstudy.methods.solved import SolvedMethod
from selfstudy.ops.duration import Duration
from selfstudy.optim.clip import CLIPS
from selfstudy.optim.groups import arranged
from selfstudy.optim.optimizer import build_optimizer
from selfstudy.optim.pace import Pace
from selfstudy.runs.folder import RunFolder
from selfstudy.runs.modality import Work
from selfstudy.runs.records import print_plan, write_beginning, write_changes
from selfstudy.runs.resolved import Resolved
from selfstudy.runs.settings import without_effect
from selfstudy.train.checkpoint import Checkpoint, CheckpointStore
from selfstudy.train.clock import Clock
from selfstudy.train.compiling import compiled_encoders
from selfstudy.train.health import HealthMonitor, References
from selfstudy.train.loop import Outcome, Plan, Trainer
from selfstudy.train.monitor import MetricsLog, Monitor, ProgressBar
from selfstudy.train.solver import Solver

OpenWork = Callable[[Console], Work]  # opens the data, and prints what was found
_MAX_ENVIRONMENT_BYTES = 1_000_000
_HUNG_UP = re.compile("(closed|reset) by peer|Broken pipe")  # gloo raises a bare RuntimeError


def derive(open_work: OpenWork, *, console: Console) -> str:
    """The configuration that :func:`pretrain` would use, without ``auto``, as YAML with the reasons."""
    limit_threads()
    work = open_work(console)
    resolved = work.resolve()
    work.build_method(resolved, fetch=False)  # the method may refuse its encoder, and the encoder its images
    return cfg.to_yaml(resolved.config, resolved.reasons)


def pretrain(
    open_work: OpenWork,
    config: cfg.RunConfig,
    folder: RunFolder,
    *,
    resume: bool,
    overwrite: bool,
    console: Console,
    began: float | None = None,
) -> Outcome:
    """Train in a run folder, from the start or from its last checkpoint.

    With several devices, every process calls this function. Only the first one decides, prints and writes; the others
    write only the list of inputs that they could not read.

    Args:
        open_work: a function that opens the data.
        config: the settings; some of them may be ``auto``.
        folder: the run folder.
        resume: True to continue the run in the folder.
        overwrite: True to move a run in the folder aside first.
        console: the console that shows progress.
        began: the ``time.monotonic()`` at which a budget in minutes began; now if left out.

    Raises:
        SelfstudyError: the subclass names the kind of error, and the message says what to do.
    """
    began = time.monotonic() if began is None else began
    if not resume and not overwrite:
        folder.refuse_if_used()
    fabric = launch(config.train)
    console = console if fabric.is_global_zero else Console(quiet=True)
    work = _opened(open_work, fabric, console)
    with ExitStack() as stack, _lost_processes_named(fabric):
        if fabric.is_global_zero:
            _take(folder, stack, overwrite=overwrite, console=console)
        fabric.barrier()
        store = CheckpointStore(folder.checkpoints, keep=config.train.keep)
        checkpoint = _checkpoint_to_resume(folder, store, console) if resume else None
        resolved = fabric.broadcast(work.resolve() if fabric.is_global_zero else None)
        if resume:
            _require_same_run(folder, resolved, work)
        method = work.build_method(resolved, fetch=checkpoint is None)
        if fabric.world_size > 1 and fabric.device.type == "cuda":  # torch synchronises BatchNorm on GPUs only
            method = convert_sync_batchnorm(method)
        # before anything is written, because it may raise
        if isinstance(method, SolvedMethod):
            trainer: Trainer | Solver = make_solver(fabric, method, resolved, work, folder, began=began)
        else:
            trainer = make_trainer(fabric, method, resolved, work, folder, began=began)
        if checkpoint is not None:
            trainer.restore(checkpoint)
        if resolved.train.compile:
            stack.enter_context(compiled_encoders(method, fabric.device))
        if fabric.is_global_zero:
            store.clean()
            store.require_space(method.state_dict())
            folder.truncate_logs(checkpoint.step if checkpoint else 0)
            if checkpoint is None:
                write_beginning(folder, resolved, work)
            else:
                write_changes(folder, resolved)  # else a later --resume would end where the old run ended
        print_plan(resolved, console)
        health = make_health(folder, method, resolved, work)
        unit = work.unit(resolved)
        log = MetricsLog(folder.metrics, every=resolved.train.log_every, unit=unit)
        try:
            monitors: list[Monitor] = [log, health] if fabric.is_global_zero else []
            outcome = _trained(trainer, store, monitors, ProgressBar(console, unit))
        finally:
            work.note_unreadable(folder, trainer.unreadable, console)
        if fabric.is_global_zero:
            work.finish(folder, method, resolved, console)
            _whiten(work, folder, resolved, outcome, console)
    if checkpoint is not None and outcome.steps == checkpoint.step:
        console.print(f"done     nothing was left to do after step {checkpoint.step:,}", highlight=False)
    else:
        console.print(f"done     {outcome.steps:,} steps in {outcome.seconds:.0f} s; {health.last}", highlight=False)
    return outcome


def _opened(open_work: OpenWork, fabric: Fabric, console: Console) -> Work:
    """The opened data. On processors, memory that only opening needed is returned to the system."""
    if fabric.device.type != "cpu":
        return open_work(console)
    return_large_blocks()
    work = open_work(console)
    give_back_freed_memory()  # opening a large corpus needs more memory than training
    keep_freed_memory()
    return work


def _trained(
    trainer: Trainer | Solver, store: CheckpointStore, monitors: Sequence[Monitor], bar: ProgressBar
) -> Outcome:
    """The outcome of the whole training.

    Raises:
        TrainingError: no step was taken, or training diverged.
    """
    try:
        outcome = trainer.run(store, monitors=monitors, bar=bar)
    finally:
        bar.close()
    if outcome.steps < 1:
        raise TrainingError("no optimizer step was taken, so there is nothing to save\ngive a longer duration")
    return outcome


def _whiten(work: Work, folder: RunFolder, resolved: Resolved[object], outcome: Outcome, console: Console) -> None:
    """Add whitening statistics to ``encoder/``; a run that cannot have them is finished all the same."""
    try:
        work.whiten(folder, resolved, outcome.steps * resolved.train.batch_size, console)
    except DataError as error:
        console.print(f"whitening statistics were not taken: {first_line(error)}", highlight=False)


def launch(train: cfg.TrainConfig) -> Fabric:
    """Fabric on the device of the settings, with all of its processes started.

    Raises:
        EnvironmentFault: the machine has fewer devices than the settings ask for.
    """
    device = best_device(train.device)[0]
    logging.getLogger("lightning_fabric").setLevel(
        logging.WARNING
    )  # it advises matrix products that are too inexact for losses
    try:
        fabric = Fabric(accelerator=device, devices=train.devices)  # the loop sets the precision
    except (RuntimeError, ValueError) as error:
        reason = first_line(error)
        raise EnvironmentFault(f"{train.devices} devices of kind {device!r} cannot be used: {reason}") from None
    fabric.launch()
    limit_threads(fabric.world_size)
    return fabric


@contextmanager
def _lost_processes_named(fabric: Fabric) -> Iterator[None]:
    """Turn torch's error about a process that has stopped into one line; that process itself prints its reason.

    Raises:
        EnvironmentFault: another process of the run stopped inside the block.
    """
    try:
        yield
    except RuntimeError as error:
        if fabric.world_size > 1 and (isinstance(error, torch.distributed.DistError) or _HUNG_UP.search(str(error))):
            raise EnvironmentFault(
                "another process of this run stopped, so this one does; its message says why\n"
                f"torch noticed by: {first_line(error)[:150]}"
            ) from error
        raise


def _take(folder: RunFolder, stack: ExitStack, *, overwrite: bool, console: Console) -> None:
    """Lock the folder for this process until ``stack`` closes; with ``overwrite``, move an old run aside first."""
    if overwrite and folder.is_used():
        with run_lock(folder.path):  # a run that is still being trained is not moved
            console.print(f"moved    the old run to {folder.move_aside()}", highlight=False)
    folder.create()
    stack.enter_context(run_lock(folder.path))


def make_trainer(
    fabric: Fabric,
    method: Method,
    resolved: Resolved[object],
    work: Work,
    folder: RunFolder,
    *,
    began: float | None = None,
) -> Trainer:
    """The training loop with its parts; a budget in minutes holds everything from ``began`` on."""
    train, optimizer = resolved.train, resolved.optimizer
    reserve = work.seconds_to_finish(method, resolved) if train.duration.unit == "minutes" else 0.0
    groups = arranged(method.parameter_groups(), optimizer, layer_rates(method.encoder, optimizer.layer_decay))
    data, render = work.batches(resolved, Shard(fabric.global_rank, fabric.world_size, train.accumulate))
    plan = Plan(
        pace=Pace.of(groups, optimizer),
        clip=lambda parameters: CLIPS[optimizer.clip_by](parameters, optimizer.clip),
        seed=train.seed,
        half=train.precision == "bf16",
        compiled=train.compile,
        ahead=fabric.device.type != "cpu",
        workers=train.workers,
        checkpoint_every=train.checkpoint_every,
        resume_hint=_hint(resolved, folder),
    )
    method.to(memory_format=torch.channels_last)  # 1.2 to 1.4 times faster convolutions on CPU, and no slower elsewhere
    return Trainer(
        fabric,
        method,
        optimizer=build_optimizer(
            groups,
            name=optimizer.name,
            lr=optimizer.lr,
            weight_decay=optimizer.weight_decay,
            momentum=optimizer.momentum,
            beta2=optimizer.beta2,
        ),
        data=data,
        render=render,
        clock=lambda elapsed: Clock.of(
            train.duration,
            steps_per_epoch=data.order.steps_per_epoch,
            batch_size=train.batch_size,
            elapsed_seconds=elapsed,
            began=began,
            reserve=reserve,
        ),
        plan=plan,
    )


def make_solver(
    fabric: Fabric,
    method: SolvedMethod,
    resolved: Resolved[object],
    work: Work,
    folder: RunFolder,
    *,
    began: float | None = None,
) -> Solver:
    """The run of a solved method on the device of ``fabric``."""
    passes, hint = work.passes(resolved), _hint(resolved, folder)
    return Solver(method.to(fabric.device), passes, seed=resolved.train.seed, resume_hint=hint, began=began)


def _hint(resolved: Resolved[object], folder: RunFolder) -> str:
    """The end of an error message, with the command that continues the run."""
    return f"continue: selfstudy pretrain {resolved.config.data.path} --out {folder.path} --resume"


def make_health(folder: RunFolder, method: Method, resolved: Resolved[object], work: Work) -> HealthMonitor:
    """The monitor that writes ``health.jsonl``."""
    config = resolved.config.health
    chance = method.chance_loss(resolved.train.batch_size // resolved.train.accumulate)
    return HealthMonitor(
        lambda reading: folder.append(folder.health, [reading.to_dict()]),
        every=config.every,
        references=References(chance, work.plateau, method.uniform_entropy()),
        stop=config.on_collapse == "stop",
    )


def _checkpoint_to_resume(folder: RunFolder, store: CheckpointStore, console: Console) -> Checkpoint | None:
    """The newest whole checkpoint of the run in the folder, if there is one."""
    if not folder.config.is_file():
        console.print(f"resume   {folder.path} holds no run yet; starting one", highlight=False)
        return None
    checkpoint = store.latest()
    for rejected in store.rejected:
        console.print(f"resume   {rejected}", highlight=False)
    text = f"from step {checkpoint.step:,}" if checkpoint else "no checkpoint yet: from the beginning"
    console.print(f"resume   {text}", highlight=False)
    return checkpoint


def _require_same_run(folder: RunFolder, resolved: Resolved[object], work: Work) -> None:
    """Raise if the run in the folder began with other settings or data.

    Raises:
        UsageError: a setting that changes results has another value.
        DataError: the data have another fingerprint.
        FileRefusedError: ``environment.json`` of the run is missing or damaged.
    """
    if not folder.config.is_file():
        return
    changes = _changes(cfg.read_yaml(folder.config), resolved.config, resolved.reasons)
    if changes:
        raise UsageError(
            "--resume cannot change these settings:\n"
            + "\n".join(f"  {key}: {old} -> {new}" for key, (old, new) in changes.items())
            + "\nleave them out, or start a new run with --out"
        )
    environment = read_json(folder.environment, _MAX_ENVIRONMENT_BYTES)
    if "data_fingerprint" not in environment:
        raise FileRefusedError(f"{folder.environment}: 'data_fingerprint' is missing\nstart a new run with --out")
    inputs, fingerprint = work.fingerprint()
    if environment["data_fingerprint"] != fingerprint:
        raise DataError(
            f"the data is not what this run began with: {environment.get('inputs')} inputs then, {inputs} now\n"
            "bring the files back, or start a new run with --out"
        )


def _changes(
    written: Mapping[str, Any], asked: cfg.RunConfig, derived: Collection[str] = ()
) -> dict[str, tuple[Any, Any]]:
    """The settings that must not differ and do, as (old, new); a longer duration in the same unit is allowed.

    A setting that was not ``written`` did not exist when the run began, and may have any value. A setting that was
    written as ``auto`` and is ``derived`` now has the same value as then.
    """
    saved = cfg.validate(type(asked), written)
    old, new = (cfg.flatten(config.model_dump(mode="json")) for config in (saved, asked))
    unknown_then = old.keys() - cfg.flatten(written).keys()
    different = {key: (old.get(key), new.get(key)) for key in old | new if old.get(key) != new.get(key)}
    before, after = (Duration.parse(config.train.duration) for config in (saved, asked))
    if before.unit == after.unit and after.amount >= before.amount:
        different.pop("train.duration", None)
    return {
        key: pair
        for key, pair in different.items()
        if key not in unknown_then | without_effect({"this run": type(asked)})
        and not (pair[0] == "auto" and key in {*derived, "data.modality"})
    }


def default_out(data: object, method: str) -> Path:
    """The default run folder: ``runs/``, the name of the data, and the method."""
    name = Path(str(data)).name if isinstance(data, str | Path) else "data"
    return Path("runs") / f"{name.replace(':', '-') or 'data'}-{method}"
