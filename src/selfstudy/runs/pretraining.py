"""Builds a run from data, encoder, method, optimizer, monitors and checkpoints, and trains it."""

import logging
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from rich.console import Console
from timm.layers import convert_sync_batchnorm

from selfstudy import config as cfg
from selfstudy.data.batches import Shard
from selfstudy.disk.lock import run_lock
from selfstudy.encoders.base import layer_rates
from selfstudy.errors import DataError, EnvironmentFault, TrainingError, first_line
from selfstudy.machine.allocator import freed_memory_returned
from selfstudy.machine.devices import best_device
from selfstudy.machine.processors import limit_threads
from selfstudy.methods.base import Method
from selfstudy.methods.solved import SolvedMethod
from selfstudy.optim.clip import CLIPS
from selfstudy.optim.groups import arranged
from selfstudy.optim.optimizer import build_optimizer
from selfstudy.optim.pace import Pace
from selfstudy.runs.folder import RunFolder
from selfstudy.runs.modality import Work
from selfstudy.runs.plan_check import PlanChanged, PlanCheck
from selfstudy.runs.records import print_plan, write_beginning, write_changes
from selfstudy.runs.resolved import Resolved
from selfstudy.runs.resuming import checkpoint_to_resume, require_same_run
from selfstudy.train.checkpoint import Checkpoint, CheckpointStore
from selfstudy.train.clock import Clock
from selfstudy.train.compiling import compiled_encoders
from selfstudy.train.health import HealthMonitor, References
from selfstudy.train.loop import Outcome, Plan, Trainer
from selfstudy.train.monitor import MetricsLog, Monitor, ProgressBar
from selfstudy.train.readings import EvalSet, Readings
from selfstudy.train.solver import Solver

OpenWork = Callable[[Console], Work]  # opens the data, and prints what was found
_SOLVING = (
    0.85  # of a budget in minutes, after which a solved method reads no more inputs; the rest is for the solution
)
_HUNG_UP = re.compile("(closed|reset) by peer|Broken pipe")  # gloo raises a bare RuntimeError


def derive(open_work: OpenWork, *, console: Console) -> str:
    """The configuration that :func:`pretrain` would use, without ``auto``, as YAML with the reasons."""
    limit_threads()
    work = open_work(console)
    resolved = work.resolve()
    work.build_method(resolved, fetch=False)  # the method may refuse its encoder, and the encoder its images
    notes = "".join(f"# {note}\n" for note in resolved.notes)
    return notes + cfg.to_yaml(resolved.config, resolved.reasons)


def pretrain(
    open_work: OpenWork,
    config: cfg.RunConfig,
    folder: RunFolder,
    *,
    resume: bool,
    overwrite: bool,
    console: Console,
    began: float | None = None,
    labelled: object = None,
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
        labelled: labelled data for k-NN readings during training, whose time is not part of the budget; or None.

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
        checkpoint = checkpoint_to_resume(folder, store, console) if resume else None
        resolved = fabric.broadcast(work.resolve() if fabric.is_global_zero else None)
        if resume:
            require_same_run(folder, resolved, work)
        session = _Session(fabric, work, folder, store, checkpoint, labelled, console, began)
        try:
            outcome, health = session.train(resolved, checked=True)
        except PlanChanged as change:
            outcome, health = session.train(change.resolved, checked=False)
    if checkpoint is not None and outcome.steps == checkpoint.step:
        console.print(f"done     nothing was left to do after step {checkpoint.step:,}", highlight=False)
    else:
        console.print(
            f"done     {outcome.steps:,} {outcome.what} in {outcome.seconds:.0f} s; {health}", highlight=False
        )
    return outcome


@dataclass(frozen=True)
class _Session:
    """The parts of a run that stay when its plan changes."""

    fabric: Fabric
    work: Work
    folder: RunFolder
    store: CheckpointStore
    checkpoint: Checkpoint | None
    labelled: object
    console: Console
    began: float

    def train(self, resolved: Resolved[Any], *, checked: bool) -> tuple[Outcome, str]:
        """Train with these settings and write ``encoder/``; return the outcome and the last word about health.

        Raises:
            PlanChanged: the plan was wrong, and ``checked`` is set; nothing but logs and settings was written.
        """
        fabric, work, folder, checkpoint = self.fabric, self.work, self.folder, self.checkpoint
        method = work.build_method(resolved, fetch=checkpoint is None)
        if fabric.world_size > 1 and fabric.device.type == "cuda":  # torch synchronises BatchNorm on GPUs only
            method = convert_sync_batchnorm(method)
        readings, began = None, self.began
        if self.labelled is not None and fabric.is_global_zero and not isinstance(method, SolvedMethod):
            opening = time.monotonic()
            examples = work.eval_set(self.labelled, method.to(fabric.device), resolved)
            readings = _readings(examples, method, folder, clock=lambda: trainer.clock, console=self.console)
            resumed = checkpoint is not None
            readings.begin(resumed=resumed, known=resumed and folder.readings.is_file())
            readings.seconds = time.monotonic() - opening
            began += readings.seconds
        # before anything is written, because it may raise
        if isinstance(method, SolvedMethod):
            trainer: Trainer | Solver = make_solver(fabric, method, resolved, work, folder, began=began)
        else:
            trainer = make_trainer(fabric, method, resolved, work, folder, began=began)
        if checkpoint is not None:
            trainer.restore(checkpoint)
        with compiled_encoders(method, fabric.device) if resolved.train.compile else nullcontext():
            if fabric.is_global_zero:
                self.store.require_space(method.state_dict())
                _prepare(folder, self.store, checkpoint, resolved, work)
            print_plan(resolved, self.console)
            health = make_health(folder, method, resolved, work)
            unit = work.unit(resolved)
            every = 1 if isinstance(method, SolvedMethod) else resolved.train.log_every
            log = MetricsLog(folder.metrics, every=every, unit=unit)
            monitors: list[Monitor] = [log, health] if fabric.is_global_zero else []
            if checked and checkpoint is None and (planned := work.planned_seconds()) is not None:
                monitors.append(PlanCheck(planned, work.resolve_again, folder.checkpoints))
            monitors += [] if readings is None else [readings]
            try:
                outcome = _trained(trainer, self.store, monitors, ProgressBar(self.console, unit))
            finally:
                work.note_unreadable(folder, trainer.unreadable, self.console)
            if fabric.is_global_zero:
                work.finish(folder, method, resolved, self.console)
                _whiten(work, folder, resolved, outcome, self.console)
        if readings is not None:
            self.console.print(f"readings {readings.count} in {readings.seconds:.0f} s more", highlight=False)
        return outcome, health.last


def _opened(open_work: OpenWork, fabric: Fabric, console: Console) -> Work:
    """The opened data. On processors, memory that only opening needed is returned to the system."""
    if fabric.device.type != "cpu":
        return open_work(console)
    with freed_memory_returned():
        return open_work(console)


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


def _prepare(
    folder: RunFolder,
    store: CheckpointStore,
    checkpoint: Checkpoint | None,
    resolved: Resolved[object],
    work: Work,
) -> None:
    """Remove what an earlier process left behind after the checkpoint, and write the files of the beginning."""
    store.clean()
    if checkpoint is None:
        folder.truncate_logs(0)
        folder.readings.unlink(missing_ok=True)  # what comes before the first step is measured again
        write_beginning(folder, resolved, work)
    else:
        folder.truncate_logs(checkpoint.step)
        write_changes(folder, resolved)  # else a later --resume would end where the old run ended


def _readings(
    examples: EvalSet, method: Method, folder: RunFolder, *, clock: Callable[[], Clock], console: Console
) -> Readings:
    """The monitor that writes ``readings.jsonl``; it reads the encoder that the run keeps at its end."""
    return Readings(
        examples,
        lambda: method.representation()[1],
        lambda lines: folder.append(folder.readings, lines),
        clock=clock,
        console=console,
    )


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
    passes, hint, duration, until = work.passes(resolved), _hint(resolved, folder), resolved.train.duration, None
    if began is not None and duration.unit == "minutes":
        until = began + 60 * _SOLVING * duration.amount - work.seconds_to_finish(method, resolved)
    return Solver(
        method.to(fabric.device), passes, seed=resolved.train.seed, resume_hint=hint, began=began, until=until
    )


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


def default_out(data: object, method: str, *, resume: bool = False) -> Path:
    """The default run folder: ``runs/``, the name of the data, and the method.

    To resume a run whose method is left open, a folder of an earlier version counts, which trained the default method.
    """
    name = Path(str(data)).name if isinstance(data, str | Path) else "data"
    stem = name.replace(":", "-") or "data"
    folder, earlier = (Path("runs") / f"{stem}-{one}" for one in (method, cfg.DEFAULT_METHOD))
    is_earlier = resume and method == cfg.AUTO_METHOD and not folder.is_dir() and earlier.is_dir()
    return earlier if is_earlier else folder
