"""Monitors of training: the values they get after every step, the metrics file, the progress bar.

A monitor only reads. It changes no weight and draws no random number.
"""

import json
import math
import time
from pathlib import Path
from typing import NamedTuple, Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn
from torch import Tensor, nn

from selfstudy.ops import schedules


class Unit(NamedTuple):
    """The unit of speed: its name, and how many of it one input counts for."""

    name: str = "images"
    per_input: int = 1


class Observation(NamedTuple):
    """One optimizer step as monitors see it.

    Attributes:
        progress: steps done, including this one, and the total.
        loss: mean loss over the micro-batches.
        metrics: the method's own scalars, ``learning_rate`` and ``gradient_norm``.
        embedding: (B, D) float32, of the first view; None if the method returns none.
        views: tensors that the method received for the last micro-batch.
        encoder: the network in training.
        inputs: number of images or rows of text in this step, over all processes.
        wait_seconds: seconds spent on preparing views; on a GPU only the wait for the loader.
        seconds: duration of the step.
        remaining_seconds: estimated time left.
    """

    progress: schedules.Progress
    loss: float
    metrics: dict[str, float]
    embedding: Tensor | None
    views: list[Tensor]
    encoder: nn.Module
    inputs: int
    wait_seconds: float
    seconds: float
    remaining_seconds: float


class Monitor(Protocol):
    """Called after every optimizer step; the progress bar shows the text that it returns, if any."""

    def __call__(self, observation: Observation) -> str | None:
        """Read one step."""
        ...


class Throughput:
    """Inputs or tokens per second, and the share of time spent waiting for data, over the last steps.

    Args:
        unit: unit of speed.
        window: number of steps to average over.
    """

    def __init__(self, unit: Unit = Unit(), window: int = 50) -> None:  # noqa: B008 - a frozen value
        self._unit, self._window = unit, window
        self._steps: list[tuple[int, float, float]] = []

    def update(self, observation: Observation) -> tuple[float, float]:
        """(units per second, share of time waited in [0, 1]), including this step."""
        self._steps.append((observation.inputs, observation.seconds, observation.wait_seconds))
        del self._steps[: -self._window]
        inputs, seconds, waited = (sum(column) for column in zip(*self._steps, strict=True))
        return inputs * self._unit.per_input / max(seconds, 1e-9), waited / max(seconds, 1e-9)


class MetricsLog:
    """A monitor that appends one JSON line to a file every few steps and at the last one.

    Args:
        path: the file, ``metrics.jsonl`` of a run.
        every: steps between lines.
        unit: unit of speed.
    """

    def __init__(self, path: Path, *, every: int, unit: Unit = Unit()) -> None:  # noqa: B008 - a frozen value
        self._path, self._every, self._throughput = path, every, Throughput(unit)
        self._speed = f"{unit.name}_per_second"

    def __call__(self, observation: Observation) -> None:
        """Write the step's line if it is due."""
        speed, waited = self._throughput.update(observation)
        step, total = observation.progress
        if step % self._every and step != total:
            return
        line = {
            "step": step,
            "total": total,
            "loss": observation.loss if math.isfinite(observation.loss) else None,
            **observation.metrics,
            self._speed: round(speed, 1),
            "data_wait": round(waited, 4),
            "time": round(time.time(), 3),
        }
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


class ProgressBar:
    """A live line: step, loss, speed, share of time waiting for data, time left, health.

    Without a terminal it prints a plain line about twenty times per run.

    Args:
        console: the console to draw on.
        unit: unit of speed.
    """

    def __init__(self, console: Console, unit: Unit = Unit()) -> None:  # noqa: B008 - a frozen value
        self._console, self._throughput, self._unit = console, Throughput(unit), unit
        self._bar = Progress(
            SpinnerColumn(),
            BarColumn(bar_width=24),
            TextColumn("{task.description}"),
            console=console,
            transient=True,
        )
        self._task: TaskID | None = None
        self._printed = -1
        self._shown = ("", 0)  # the last stage and quarter of a pass that was printed

    def show(self, observation: Observation, notes: list[str]) -> None:
        """Draw the state after a step, with the notes of other monitors."""
        speed, waited = self._throughput.update(observation)
        minutes, seconds = divmod(round(observation.remaining_seconds), 60)
        step, total = observation.progress
        parts = [
            f"step {step:,}/{total:,}",
            f"loss {observation.loss:.4f}",
            f"{speed:,.0f} {self._unit.name}/s",
            f"data wait {waited:.0%}",
            f"{minutes}:{seconds:02d} left",
            *notes,
        ]
        text = " · ".join(parts)
        if self._console.is_terminal:
            self._draw(text, step, total)
        elif (twentieth := int(20 * observation.progress.fraction)) > self._printed:
            self._printed = twentieth
            self._console.print(text, highlight=False, soft_wrap=True)

    def show_pass(self, stage: str, done: int, total: int, seconds: float) -> None:
        """Draw the state of a pass of a solved method.

        Args:
            stage: the name of the stage.
            done: the number of inputs read in this pass.
            total: the number of inputs of the pass.
            seconds: the duration of the pass so far.
        """
        left = round(seconds / max(done, 1) * (total - done))
        speed = done / max(seconds, 1e-9)
        text = f"{stage}: {done:,}/{total:,} {self._unit.name} · {speed:,.0f}/s · {left // 60}:{left % 60:02d} left"
        if self._console.is_terminal:
            self._draw(text, done, total)
        elif (quarter := (stage, 4 * done // max(total, 1))) != self._shown:
            self._shown = quarter
            self._console.print(text, highlight=False, soft_wrap=True)

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        self._console.print(text, highlight=False, soft_wrap=True)

    def _draw(self, text: str, step: int, total: int) -> None:
        if self._task is None:
            self._bar.start()
            self._task = self._bar.add_task("", total=total)
        self._bar.update(self._task, completed=step, total=total, description=text)

    def close(self) -> None:
        """Remove the live line."""
        self._bar.stop()
