"""The run of a solved method: stage after stage, each with its passes over the data, and a checkpoint after each."""

import math
import time
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from selfstudy.data.batches import Passes
from selfstudy.errors import Interrupted
from selfstudy.methods.solved import SolvedMethod
from selfstudy.nn.modes import evaluation_mode
from selfstudy.ops.schedules import Progress
from selfstudy.train.checkpoint import Checkpoint, CheckpointStore
from selfstudy.train.clock import Clock
from selfstudy.train.loop import Outcome
from selfstudy.train.monitor import Monitor, Observation, ProgressBar
from selfstudy.train.signals import StopFlag, exit_code, stop_flag

_SHOWN = 512  # inputs that monitors see the embeddings of


class Solver:
    """One run of a solved method; the counterpart of :class:`selfstudy.train.loop.Trainer`.

    Args:
        method: the method to solve, on a processor.
        passes: the inputs.
        seed: the seed of the run.
        resume_hint: the end of an error message, with the command that continues the run.
        began: the ``time.monotonic()`` at which the run began; now if left out.
        until: the ``time.monotonic()`` at which a pass over all inputs ends early, because the budget is used up; None
            without a budget in minutes. The inputs come in random order, so those that were read are a sample.
    """

    def __init__(
        self,
        method: SolvedMethod,
        passes: Passes,
        *,
        seed: int,
        resume_hint: str,
        began: float | None = None,
        until: float | None = None,
    ) -> None:
        self._until = until
        self.method, self.passes, self.seed, self._hint = method, passes, seed, resume_hint
        self.unreadable: dict[int, str] = {}
        self.steps_done = 0
        self._began = time.monotonic() if began is None else began
        self.clock = self._clock(0.0)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Continue after the last finished stage of a checkpoint."""
        checkpoint.load_into(self.method)
        self.steps_done = checkpoint.step
        self.clock = self._clock(float(checkpoint.state["elapsed_seconds"]))

    def _clock(self, before: float) -> Clock:
        """The clock of all stages, after some seconds of earlier processes."""
        return Clock(len(self.method.stages), None, elapsed_seconds=before + time.monotonic() - self._began)

    def run(self, store: CheckpointStore, *, monitors: Sequence[Monitor], bar: ProgressBar) -> Outcome:
        """Do all stages that are left, with a checkpoint after each.

        Raises:
            DataError: the method cannot be solved for these data.
            Interrupted: SIGTERM or Ctrl-C; the checkpoint is that of the last finished stage.
        """
        stages, inputs = self.method.stages, 0
        self.method.eval()
        with stop_flag() as flag:
            while self.steps_done < len(stages):
                began, watch = time.monotonic(), self._watch(stages[self.steps_done], flag, bar)
                counted = _Counted(self.passes, watch, self._until)
                metrics = self.method.solve(self.steps_done, counted, seed=self.seed)
                self.unreadable |= counted.failed
                if counted.cut:
                    bar.say(f"{stages[self.steps_done]}: the time was up after {counted.cut:,} of {counted.inputs:,}")
                self.steps_done, inputs = self.steps_done + 1, inputs + counted.seen
                observation = self._observation(metrics, counted, time.monotonic() - began)
                for monitor in monitors:
                    monitor(observation)
                state = {"elapsed_seconds": self.clock.elapsed_seconds, "images_seen": inputs}
                store.save(self.steps_done, self.method.state_dict(), {"state": {}, "param_groups": []}, state)
        return Outcome(self.steps_done, self.clock.elapsed_seconds, inputs, math.nan, "stages")

    def _watch(self, stage: str, flag: StopFlag, bar: ProgressBar) -> Callable[[int, int, float], None]:
        """A function that shows the progress of a pass, and raises if a signal has come."""

        def watch(seen: int, total: int, seconds: float) -> None:
            bar.show_pass(stage, seen, total, seconds)
            if flag.signal is not None:
                raise Interrupted(
                    f"stopped by {flag.signal.name} in stage {stage!r}; the stages before it are kept\n{self._hint}",
                    exit_code(flag.signal),
                )

        return watch

    def _observation(self, metrics: dict[str, float], counted: "_Counted", seconds: float) -> Observation:
        """The finished stage as monitors see it; the last one has embeddings."""
        done, total = self.steps_done, len(self.method.stages)
        embedding = None
        if done == total and counted.last:
            with evaluation_mode(self.method.encoder), torch.inference_mode():
                embedding = torch.cat([self.method.encoder(images).float() for images in counted.last])[:_SHOWN].clone()
        return Observation(
            progress=Progress(done, total),
            loss=math.nan,
            metrics=metrics,
            embedding=embedding,
            views=[],
            encoder=self.method.encoder,
            inputs=counted.seen,
            wait_seconds=counted.waited,
            seconds=seconds,
            remaining_seconds=0.0,
        )


class _Counted:
    """The passes of one stage, counted: how many inputs were read, the last ones, and those that cannot be read.

    A pass over all inputs ends early at ``until``, after a tenth of them; ``cut`` is then the number that was read.
    """

    def __init__(self, passes: Passes, watch: Callable[[int, int, float], None], until: float | None) -> None:
        self._passes, self._watch, self._until = passes, watch, math.inf if until is None else until
        self.inputs, self.seen, self.waited, self.cut = passes.inputs, 0, 0.0, 0
        self.last: list[Tensor] = []
        self.failed: dict[int, str] = {}

    def __call__(self, at_most: int | None = None) -> Iterator[Tensor]:
        began, done, total = time.monotonic(), 0, min(at_most or self.inputs, self.inputs)
        batches = self._passes.batches(total, self.failed)
        while True:
            asked = time.monotonic()
            batch = next(batches, None)
            self.waited += time.monotonic() - asked
            if batch is None:
                return
            yield batch
            done, self.seen = done + len(batch), self.seen + len(batch)
            self.last = [*self.last, batch][-max(1, _SHOWN // len(batch)) :]
            self._watch(done, total, time.monotonic() - began)
            if at_most is None and self.inputs / 10 <= done < total and time.monotonic() > self._until:
                self.cut = done
                return
