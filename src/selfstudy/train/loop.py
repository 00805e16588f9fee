"""The training loop, top to bottom: batch, forward, backward, hooks, optimizer, monitors, checkpoint.

It names no method and knows no teacher, queue, crop or mask. A run is a function of its configuration and the step
number alone, so a run that is killed and resumed goes through the same states as one that is not (budgets in minutes
excepted, see :class:`selfstudy.train.clock.Clock`).
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from lightning.fabric import Fabric
from torch import Tensor

from selfstudy.config import Duration
from selfstudy.data.loader import Crops, TrainingData, micro_batches, render
from selfstudy.errors import Interrupted, TrainingError
from selfstudy.methods.base import Method, StepOutput
from selfstudy.ops.random import fold
from selfstudy.ops.schedules import Progress, Schedule
from selfstudy.train.checkpoint import Checkpoint, CheckpointStore
from selfstudy.train.clock import Clock
from selfstudy.train.monitor import Monitor, Observation, ProgressBar
from selfstudy.train.optimizer import clip_gradients, set_learning_rate
from selfstudy.train.signals import StopFlag, stop_flag


@dataclass(frozen=True)
class Plan:
    """What the loop needs to know beside the objects it moves."""

    learning_rate: Schedule
    clip: float
    seed: int
    workers: int
    checkpoint_every: Duration
    normalization: tuple[list[float], list[float]]
    resume_hint: str


class Outcome(NamedTuple):
    """How training ended."""

    steps: int
    seconds: float
    images: int
    loss: float


class Step(NamedTuple):
    """Result of the forward and backward passes of one optimizer step."""

    loss: float
    metrics: dict[str, float]
    output: StepOutput
    views: list[Tensor]
    wait_seconds: float
    failed: dict[int, str]


class Trainer:
    """One training run: call :meth:`run` once.

    Args:
        fabric: launches, places, casts and synchronises; already launched.
        method: what is trained; its hooks are called around each optimizer step.
        optimizer: over the method's trainable parameters.
        data: the batches.
        clock: how long.
    """

    def __init__(
        self,
        fabric: Fabric,
        method: Method,
        *,
        optimizer: torch.optim.Optimizer,
        data: TrainingData,
        clock: Callable[[float], Clock],
        plan: Plan,
    ) -> None:
        self.fabric, self.method, self.data, self.plan = fabric, method, data, plan
        self._make_clock = clock
        self._raw_optimizer = optimizer
        self.first_step = 0
        self._elapsed = 0.0
        self.unreadable: dict[int, str] = {}

    def restore(self, checkpoint: Checkpoint) -> None:
        """Continue from a checkpoint: weights, optimizer, step and time used."""
        self.method.load_state_dict(checkpoint.model, strict=True)
        self._raw_optimizer.load_state_dict(checkpoint.optimizer)
        self.first_step = checkpoint.step
        self._elapsed = float(checkpoint.state["elapsed_seconds"])

    def run(self, store: CheckpointStore, *, monitors: Sequence[Monitor], bar: ProgressBar) -> Outcome:
        """Train to the end, checkpointing into ``store``.

        Raises:
            TrainingError: a loss or gradient that is not finite; the last checkpoint holds finite weights.
            Interrupted: SIGTERM or Ctrl-C, after a checkpoint.
        """
        model, optimizer = self.fabric.setup(self.method, self._raw_optimizer)
        model.mark_forward_method("forward")
        self.method.train()
        self.clock = self._make_clock(self._elapsed)
        micro = micro_batches(self.data, first_step=self.first_step, workers=self.plan.workers)
        step, result, last_save = self.first_step, None, time.monotonic()
        with stop_flag() as flag:
            while True:
                progress = self.clock.progress(step)
                if self.clock.is_over(progress):
                    break
                began = time.perf_counter()
                set_learning_rate(optimizer, self.plan.learning_rate(progress))
                torch.manual_seed(int(fold(self.plan.seed, step, self.fabric.global_rank)) & (2**63 - 1))
                result = self._forward_backward(model, micro, progress)
                self._require_finite(result, step)
                self.method.before_step(progress)
                norm = clip_gradients([p for p in self.method.parameters() if p.requires_grad], self.plan.clip)
                self._require_finite_gradient(norm, step)
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
                self.method.after_step(progress)
                step += 1
                self._observe(result, step, norm, time.perf_counter() - began, monitors, bar)
                if flag.signal is not None:
                    self._stop(store, step, flag)
                if self._checkpoint_due(step, last_save):
                    self._save(store, step)
                    last_save = time.monotonic()
        if result is not None:
            self._save(store, step)
        bar.close()
        images = (step - self.first_step) * self.data.order.batch_size
        return Outcome(step, self.clock.elapsed_seconds, images, result.loss if result else math.nan)

    def _forward_backward(self, model: Any, micro: Iterator[Crops], progress: Progress) -> Step:
        """Accumulate the gradients of one optimizer step over its micro-batches."""
        parts = self.data.shard.accumulate
        losses, metrics, waited = [], [], 0.0
        failed: dict[int, str] = {}
        for part in range(parts):
            began = time.perf_counter()
            crops = next(micro)
            views = render(crops, self.data.views, self.plan.normalization, self.fabric.device)
            waited += time.perf_counter() - began
            failed |= crops.failed
            with self.fabric.no_backward_sync(model, enabled=part < parts - 1 and self.fabric.world_size > 1):
                output = model(views, progress)
                self.fabric.backward(output.loss / parts)
            losses.append(output.loss.detach())
            metrics.append(output.metrics)
        means = {name: float(torch.stack([part[name].float() for part in metrics]).mean()) for name in metrics[0]}
        return Step(float(torch.stack(losses).mean()), means, output, views, waited, failed)

    def _require_finite(self, result: Step, step: int) -> None:
        """Stop before a loss that is not a number reaches the weights."""
        if math.isfinite(result.loss):
            return
        terms = [name for name, value in result.metrics.items() if not math.isfinite(value)] or ["loss"]
        self._diverged(f"{', '.join(terms)} became {result.loss} at step {step + 1}")

    def _require_finite_gradient(self, norm: Tensor, step: int) -> None:
        if not bool(torch.isfinite(norm)):
            self._diverged(f"the gradient norm became {float(norm)} at step {step + 1}")

    def _diverged(self, what: str) -> None:
        raise TrainingError(
            f"{what}; nothing of that step was kept\n"
            "usual causes: learning rate too high, half precision, damaged inputs\n"
            f"lower optimizer.lr or use --precision fp32 in a new run; the last checkpoint is whole: {self.plan.resume_hint}"
        )

    def _observe(
        self, result: Step, step: int, norm: Tensor, seconds: float, monitors: Sequence[Monitor], bar: ProgressBar
    ) -> None:
        """Show the step to the monitors and draw the bar."""
        self.unreadable |= result.failed
        after = self.clock.progress(step)
        rates = {"learning_rate": float(self._raw_optimizer.param_groups[0]["lr"]), "gradient_norm": float(norm)}
        observation = Observation(
            progress=after,
            loss=result.loss,
            metrics=result.metrics | rates,
            embedding=result.output.embedding,
            views=result.views,
            encoder=self.method.encoder,
            images=self.data.order.batch_size,
            wait_seconds=result.wait_seconds,
            seconds=seconds,
            remaining_seconds=self.clock.remaining_seconds(after),
        )
        notes = [note for monitor in monitors if (note := monitor(observation))]
        bar.show(observation, notes)

    def _checkpoint_due(self, step: int, last_save: float) -> bool:
        """Whether the configured distance in steps, epochs, samples or minutes has been covered."""
        every = self.plan.checkpoint_every
        if every.unit == "minutes":
            return time.monotonic() - last_save >= every.amount * 60
        order = self.data.order
        steps = every.steps(
            steps_per_epoch=order.steps_per_epoch, batch_size=order.batch_size, total=self.clock.progress(step).total
        )
        return steps is not None and step % steps == 0

    def _save(self, store: CheckpointStore, step: int) -> None:
        """Commit the state after ``step`` optimizer steps, on the first process."""
        if self.fabric.is_global_zero:
            state = {"elapsed_seconds": self.clock.elapsed_seconds, "images_seen": step * self.data.order.batch_size}
            store.save(step, self.method.state_dict(), self._raw_optimizer.state_dict(), state)
        self.fabric.barrier()

    def _stop(self, store: CheckpointStore, step: int, flag: StopFlag) -> None:
        """Checkpoint and leave, because a signal asked for it."""
        self._save(store, step)
        assert flag.signal is not None
        raise Interrupted(
            f"stopped by {flag.signal.name} after step {step}; a checkpoint was written\n{self.plan.resume_hint}",
            flag.exit_code,
        )
