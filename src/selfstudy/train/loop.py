"""The training loop, top to bottom: batch, forward, backward, hooks, optimizer, monitors, checkpoint.

It names no method and knows no teacher, queue, crop or mask. A run is a function of its configuration and the step
number alone, so a run that is killed and resumed goes through the same states as one that is not (budgets in minutes
excepted, see :class:`selfstudy.train.clock.Clock`).
"""

import math
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from selfstudy.data.batches import Batches, micro_batches
from selfstudy.errors import Interrupted, TrainingError
from selfstudy.methods.base import Method, StepOutput
from selfstudy.ops.duration import Duration
from selfstudy.ops.random import seed_torch
from selfstudy.ops.schedules import Progress
from selfstudy.optim.pace import Pace
from selfstudy.train.checkpoint import Checkpoint, CheckpointStore
from selfstudy.train.clock import Clock
from selfstudy.train.compiling import COMPILING_STEPS, training_step
from selfstudy.train.monitor import Monitor, Observation, ProgressBar
from selfstudy.train.signals import exit_code, stop_flag

T = TypeVar("T")
Render = Callable[[Any, torch.device], list[Tensor]]


@dataclass(frozen=True)
class Plan:
    """The decisions that the loop follows.

    Attributes:
        pace: the learning rate and the weight decay of each parameter group.
        clip: scales the gradients of parameters in place and returns their common norm ().
        seed: the seed of the run.
        half: True for autocast to bfloat16 in the forward pass.
        compiled: True if the encoders are compiled.
        ahead: True to prepare the next views while the device computes.
        workers: the number of processes that decode.
        checkpoint_every: the distance between checkpoints.
        resume_hint: the end of an error message, with the command that continues the run.
    """

    pace: Pace
    clip: Callable[[list[nn.Parameter]], Tensor]
    seed: int
    half: bool
    compiled: bool
    ahead: bool
    workers: int
    checkpoint_every: Duration
    resume_hint: str


class Outcome(NamedTuple):
    """The result of training.

    Attributes:
        steps: the number of steps of the whole run.
        seconds: the duration of the whole run.
        inputs: the number of inputs, such as images or rows of text, since this process began.
        loss: the last loss; NaN if nothing was left to do.
        what: the name of what ``steps`` counts.
    """

    steps: int
    seconds: float
    inputs: int
    loss: float
    what: str = "steps"


class Views(NamedTuple):
    """The method's inputs for a micro-batch, and the reasons by position of inputs that could not be read."""

    tensors: list[Tensor]
    failed: dict[int, str]


class Passes(NamedTuple):
    """The result of the forward and backward passes of one optimizer step.

    Attributes:
        scalars: the loss and the method's M metrics, (1 + M,) float32 on the device, averaged over the micro-batches.
        names: the names of the metrics.
        output: the method's output for the last micro-batch.
        views: the method's inputs for the last micro-batch.
        failed: the reasons by position of inputs that could not be read.
    """

    scalars: Tensor
    names: list[str]
    output: StepOutput
    views: list[Tensor]
    failed: dict[int, str]


class Trainer:
    """One training run: call :meth:`run` once, or :meth:`begin` and then :meth:`step` by hand.

    Args:
        fabric: places, casts and synchronises; it is launched already.
        method: the method to train; its hooks are called around each optimizer step.
        optimizer: the optimizer of the groups in ``plan.pace``.
        data: the batches, as they leave the workers.
        render: a function from a batch to the method's inputs on a device.
        clock: a function from the seconds already used to the clock.
        plan: all other decisions.
    """

    def __init__(
        self,
        fabric: Fabric,
        method: Method,
        *,
        optimizer: torch.optim.Optimizer,
        data: Batches,
        render: Render,
        clock: Callable[[float], Clock],
        plan: Plan,
    ) -> None:
        self.fabric, self.method, self.data, self.plan = fabric, method, data, plan
        self._render = render
        self.steps_done = 0
        self.unreadable: dict[int, str] = {}
        self._optimizer, self._make_clock, self._elapsed = optimizer, clock, 0.0
        self._saved_step: int | None = None
        self._optimizer_state: dict[str, Any] | None = None

    def restore(self, checkpoint: Checkpoint) -> None:
        """Continue from a checkpoint: weights, optimizer, step and time used."""
        checkpoint.load_into(self.method)
        self._optimizer_state = checkpoint.optimizer
        self.steps_done = self._saved_step = checkpoint.step
        self._elapsed = float(checkpoint.state["elapsed_seconds"])

    def run(self, store: CheckpointStore, *, monitors: Sequence[Monitor], bar: ProgressBar) -> Outcome:
        """Train to the end, checkpointing into ``store``.

        Raises:
            TrainingError: a loss or gradient that is not finite; the last checkpoint holds finite weights.
            Interrupted: SIGTERM or Ctrl-C, after a checkpoint.
        """
        self.begin()
        loss, last_save = math.nan, time.monotonic()
        with stop_flag() as flag:
            progress = self._agree(self.clock.progress(self.steps_done))
            while not self.clock.is_over(progress):
                observation = self.step(progress)
                loss = observation.loss
                bar.show(observation, [note for monitor in monitors if (note := monitor(observation))])
                progress, caught, due = self._agree(
                    (self.clock.progress(self.steps_done), flag.signal, self._checkpoint_due(last_save))
                )
                if caught is not None:
                    self._stop(store, caught)
                if due:
                    self._save(store)
                    last_save = time.monotonic()
            self._save(store)
        inputs = (self.steps_done - self._first) * self.data.order.batch_size
        return Outcome(self.steps_done, self.clock.elapsed_seconds, inputs, loss)

    def begin(self) -> None:
        """Place model and optimizer, and start the data and the clock."""
        self._model, self._stepper = self.fabric.setup(self.method, self._optimizer)
        if self._optimizer_state is not None:  # its state goes to the device of the weights, which is known only now
            self._optimizer.load_state_dict(self._optimizer_state)
            self._optimizer_state = None
        self.method.train()
        self._parameters = [p for p in self.method.parameters() if p.requires_grad]
        pin = self.fabric.device.type == "cuda"
        self._micro = micro_batches(self.data, first_step=self.steps_done, workers=self.plan.workers, pin=pin)
        self._ready: Views | None = None
        self._waited = 0.0
        self.clock = self._make_clock(self._elapsed)
        self._first = self.steps_done

    def step(self, progress: Progress) -> Observation:
        """One optimizer step: batch, forward, backward, hooks, update."""
        began, number, self._waited = time.perf_counter(), self.steps_done, 0.0
        self._rate = self.plan.pace.set(self._optimizer, progress)
        # A method's own random numbers (dropout, skipped blocks) depend on the step, so a resumed run has the same.
        seed_torch(self.plan.seed, number, self.fabric.global_rank, device=self.fabric.device)
        passes = self._forward_backward(progress)
        self.method.before_step(progress)
        norm = self.plan.clip(self._parameters)
        loss, metrics = self._read(passes, norm)
        self._stepper.step()
        self._stepper.zero_grad(set_to_none=True)
        self.method.after_step(progress)
        self.steps_done += 1
        if self.plan.compiled and self.steps_done - self._first <= COMPILING_STEPS:
            self.clock.begin_again()  # else compiling would use up the warm-up of a budget in minutes
        self.unreadable |= passes.failed
        return self._observation(passes, loss, metrics, time.perf_counter() - began)

    def _forward_backward(self, progress: Progress) -> Passes:
        """Accumulate the gradients of one optimizer step over its micro-batches."""
        parts, device = self.data.shard.accumulate, self.fabric.device
        rows: list[Tensor] = []
        failed: dict[int, str] = {}
        names: list[str] = []
        for part in range(parts):
            views, self._ready = self._ready or self._next_views(), None
            failed |= views.failed
            alone = self.fabric.no_backward_sync(self._model, enabled=part < parts - 1 and self.fabric.world_size > 1)
            with alone, training_step(compiled=self.plan.compiled):
                with torch.autocast(device.type, torch.bfloat16, enabled=self.plan.half):
                    output = self._model(views.tensors, progress)
                self.fabric.backward(output.loss / parts)
            names = names or list(output.metrics)
            scalars = [output.loss.detach(), *(output.metrics[name] for name in names)]
            rows.append(torch.stack([value.to(device, torch.float32) for value in scalars]))
            if self.plan.ahead and (part < parts - 1 or progress.step + 1 < progress.total):
                self._ready = self._next_views()
        return Passes(torch.stack(rows).mean(dim=0), names, output, views.tensors, failed)

    def _next_views(self) -> Views:
        """The views of the next micro-batch, on the device."""
        began = time.perf_counter()
        batch = next(self._micro)
        read = time.perf_counter()
        tensors = self._render(batch, self.fabric.device)
        self._waited += (read if self.plan.ahead else time.perf_counter()) - began
        return Views(tensors, batch.failed)

    def _read(self, passes: Passes, norm: Tensor) -> tuple[float, dict[str, float]]:
        """Return the loss and the metrics of a step, with the gradient norm; this waits for a GPU.

        Raises:
            TrainingError: the loss or the norm is not finite; the weights have not changed.
        """
        loss, *means = passes.scalars.tolist()
        metrics = dict(zip(passes.names, means, strict=True)) | {"gradient_norm": float(norm)}
        if not math.isfinite(loss):
            terms = [name for name in passes.names if not math.isfinite(metrics[name])] or ["loss"]
            self._diverged(f"{', '.join(terms)} became {loss} at step {self.steps_done + 1}")
        if not math.isfinite(metrics["gradient_norm"]):
            self._diverged(f"the gradient norm became {metrics['gradient_norm']} at step {self.steps_done + 1}")
        return loss, metrics

    def _diverged(self, what: str) -> None:
        raise TrainingError(
            f"{what}; that step was not taken, and the last checkpoint is whole\n"
            "usual causes: learning rate too high, half precision, damaged inputs\n"
            f"lower optimizer.lr or use --precision fp32 in a new run; {self.plan.resume_hint}"
        )

    def _observation(self, passes: Passes, loss: float, metrics: dict[str, float], seconds: float) -> Observation:
        """The step as monitors see it."""
        progress, embedding = self.clock.progress(self.steps_done), passes.output.embedding
        return Observation(
            progress=progress,
            loss=loss,
            metrics=metrics | {"learning_rate": self._rate},
            embedding=None if embedding is None else embedding.float(),
            views=passes.views,
            encoder=self.method.encoder,
            inputs=self.data.order.batch_size,
            wait_seconds=self._waited,
            seconds=seconds,
            remaining_seconds=self.clock.remaining_seconds(progress),
        )

    def _checkpoint_due(self, last_save: float) -> bool:
        """Return True if the distance between checkpoints, in steps, epochs, samples or minutes, has been covered."""
        every, order = self.plan.checkpoint_every, self.data.order
        if every.unit == "minutes":
            return time.monotonic() - last_save >= every.amount * 60
        total = self.clock.progress(self.steps_done).total
        steps = every.steps(steps_per_epoch=order.steps_per_epoch, batch_size=order.batch_size, total=total)
        return steps is not None and self.steps_done % steps == 0

    def _save(self, store: CheckpointStore) -> None:
        """Commit the current state, on the first process, unless it is committed already."""
        if self.fabric.is_global_zero and self.steps_done != self._saved_step:
            inputs = self.steps_done * self.data.order.batch_size
            state = {"elapsed_seconds": self.clock.elapsed_seconds, "images_seen": inputs}  # the name in old runs too
            store.save(self.steps_done, self.method.state_dict(), self._optimizer.state_dict(), state)
            self._saved_step = self.steps_done
        self.fabric.barrier()

    def _stop(self, store: CheckpointStore, caught: signal.Signals) -> None:
        """Save a checkpoint and stop, because a signal asked for it."""
        self._save(store)
        raise Interrupted(
            f"stopped by {caught.name} after step {self.steps_done}; a checkpoint was written\n{self.plan.resume_hint}",
            exit_code(caught),
        )

    def _agree(self, value: T) -> T:
        """Return the first process's value: clocks and signals differ between processes, and all must do the same."""
        if self.fabric.world_size == 1:
            return value
        agreed: T = self.fabric.broadcast(value)
        return agreed
