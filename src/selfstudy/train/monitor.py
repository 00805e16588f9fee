"""What watches training: values handed to monitors after every step, the metrics file and the progress bar.

A monitor only looks. Nothing it does changes a weight or draws a random number.
"""

import json
import time
from pathlib import Path
from typing import NamedTuple, Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn
from torch import Tensor, nn

from selfstudy.ops import schedules


class Unit(NamedTuple):
    """What speed is counted in: its name, and how many of it one input is."""

    name: str = "images"
    per_input: int = 1


class Observation(NamedTuple):
    """One optimizer step as monitors see it.

    Attributes:
        progress: the steps done, this one included, and the total.
        loss: mean over the micro-batches.
        metrics: the method's own scalars, ``learning_rate`` and ``gradient_norm``.
        embedding: (B, D) float32 of the first view, or None.
        views: what the method received of the last micro-batch.
        encoder: the network in training.
        inputs: number of images or rows of text in this step, over all processes.
        wait_seconds: spent in this step on making views; beside a GPU, which makes them itself and may have been
            computing meanwhile, on reading alone.
        seconds: this step took in all.
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
    """Called after every optimizer step; the text it returns, if any, is shown in the progress bar."""

    def __call__(self, observation: Observation) -> str | None:
        """Look at one step."""
        ...


class Throughput:
    """Images or tokens per second and the share of time spent waiting for data, over a sliding number of steps."""

    def __init__(self, unit: Unit = Unit(), window: int = 50) -> None:  # noqa: B008 - a frozen value
        self._unit, self._window = unit, window
        self._steps: list[tuple[int, float, float]] = []

    def update(self, observation: Observation) -> tuple[float, float]:
        """(units per second, share waited in [0, 1]) including this step."""
        self._steps.append((observation.inputs, observation.seconds, observation.wait_seconds))
        del self._steps[: -self._window]
        inputs, seconds, waited = (sum(column) for column in zip(*self._steps, strict=True))
        return inputs * self._unit.per_input / max(seconds, 1e-9), waited / max(seconds, 1e-9)


class MetricsLog:
    """Appends one JSON line to ``metrics.jsonl`` every ``every`` steps and at the last one."""

    def __init__(self, path: Path, *, every: int, unit: Unit = Unit()) -> None:  # noqa: B008 - a frozen value
        self._path, self._every, self._throughput = path, every, Throughput(unit)
        self._speed = f"{unit.name}_per_second"

    def __call__(self, observation: Observation) -> None:
        """Write the step's line when it is due."""
        speed, waited = self._throughput.update(observation)
        step, total = observation.progress
        if step % self._every and step != total:
            return
        line = {
            "step": step,
            "total": total,
            "loss": observation.loss,
            **observation.metrics,
            self._speed: round(speed, 1),
            "data_wait": round(waited, 4),
            "time": round(time.time(), 3),
        }
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


class ProgressBar:
    """A live line: step, loss, speed, share of time waiting for data, time left, health.

    Without a terminal it prints a plain line about twenty times in a run instead.
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

    def show(self, observation: Observation, notes: list[str]) -> None:
        """Draw the state after a step, with what other monitors returned."""
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

    def _draw(self, text: str, step: int, total: int) -> None:
        if self._task is None:
            self._bar.start()
            self._task = self._bar.add_task("", total=total)
        self._bar.update(self._task, completed=step, total=total, description=text)

    def close(self) -> None:
        """Take the live line away."""
        self._bar.stop()
