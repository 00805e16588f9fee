"""The protocol of a modality. Images, text and the modalities of other packages implement it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from rich.console import Console

from selfstudy.config import RunConfig
from selfstudy.data.batches import Batches, Passes, Shard
from selfstudy.errors import UsageError
from selfstudy.methods.base import Method
from selfstudy.probes.evaluation import Evaluation, Question
from selfstudy.runs.folder import RunFolder
from selfstudy.runs.resolved import Resolved
from selfstudy.train.loop import Render
from selfstudy.train.monitor import Unit
from selfstudy.train.readings import EvalSet


class Work(Protocol):
    """Opened data to pretrain on. A subclass must define the methods without a default.

    Attributes:
        plateau: a loss at which runs often get stuck, and its meaning for ``health.jsonl``; None if there is none.
    """

    plateau: tuple[float, str] | None = None

    def resolve(self) -> Resolved[Any]:
        """The configuration without ``auto``. Settings that nothing else decides are measured on this machine.

        With several processes, only the first one calls this method, and all of them train with its result.
        """
        ...

    def planned_seconds(self) -> float | None:
        """The seconds of a step by the plan that :meth:`resolve` made; None if it made none, as by default."""
        return None

    def resolve_again(self, step_seconds: float) -> Resolved[Any] | None:
        """The configuration for steps that take this long on the plan's settings; None if they stay the best."""
        return None

    def unit(self, resolved: Resolved[Any]) -> Unit:
        """The unit in which speed is counted, such as images."""
        ...

    def build_method(self, resolved: Resolved[Any], *, fetch: bool = True) -> Method:
        """The method with a new encoder.

        Args:
            resolved: the decided settings.
            fetch: False to download no weights, because those of a checkpoint are loaded next.
        """
        ...

    def fingerprint(self) -> tuple[int, str]:
        """The number of inputs, and a digest that changes if the inputs change."""
        ...

    def write_beginning(self, folder: RunFolder, resolved: Resolved[Any]) -> None:
        """Write the files of the run folder that describe the data; by default, there are none."""
        return None

    def eval_set(self, labelled: object, method: Method, resolved: Resolved[Any]) -> EvalSet:
        """Labelled examples for k-NN readings during training, none of which an evaluation on the same data tests on.

        By default, there are none.

        Args:
            labelled: labelled data, as for an evaluation.
            method: the method, whose encoder is not changed.
            resolved: the decided settings.

        Raises:
            UsageError: runs of this modality have no readings; or the data does not exist.
            DataError: the data has no labels, or too few.
        """
        raise UsageError(
            f"runs on {resolved.config.data.modality} cannot be read with labels while they train; leave eval out"
        )

    def batches(self, resolved: Resolved[Any], shard: Shard) -> tuple[Batches, Render]:
        """The micro-batches of this process, and the function that turns one into the inputs of the method."""
        ...

    def passes(self, resolved: Resolved[Any]) -> Passes:
        """The inputs in whole passes, for a method that is solved; by default there are none.

        Raises:
            UsageError: the modality has no such methods.
        """
        raise UsageError(
            f"{resolved.method.__name__} is solved, which these data cannot be read for\nuse another method"
        )

    def note_unreadable(self, folder: RunFolder, unreadable: Mapping[int, str], console: Console) -> None:
        """Write a list of the inputs, by position, that training could not read; by default, write nothing."""
        return None

    def seconds_to_finish(self, method: Method, resolved: Resolved[Any]) -> float:
        """The seconds that the last checkpoint and :meth:`finish` take, which a budget in minutes keeps for them."""
        return 1.0

    def finish(self, folder: RunFolder, method: Method, resolved: Resolved[Any], console: Console) -> None:
        """Write ``encoder/``, and the measurements of it that need no labels."""
        ...

    def whiten(self, folder: RunFolder, resolved: Resolved[Any], seen: int, console: Console) -> None:
        """Add whitening statistics to ``encoder/``, which :meth:`finish` wrote; by default, add none.

        Args:
            folder: the run folder.
            resolved: the decided settings.
            seen: the number of inputs that training saw, with repeats.
            console: the console that shows how many inputs the statistics took, and how long.

        Raises:
            DataError: there are too few inputs, or embeddings that are not finite.
        """
        return None


class Embedder(Protocol):
    """A trained encoder with the preprocessing that it was trained with.

    Attributes:
        description: facts about the encoder, which are stored in every file made with it.
    """

    description: dict[str, Any]

    def embed(self, inputs: Any) -> np.ndarray:
        """The embeddings (n, D) float32 of one or several inputs."""
        ...


class Modality(Protocol):
    """One kind of data: how it is opened, trained on, embedded, evaluated and shown.

    Attributes:
        name: the value of ``data.modality``, such as ``"images"`` or ``"text"``.
        settings: the settings model of its runs.
    """

    name: str
    settings: type[RunConfig]

    def open(self, data: object, config: RunConfig, console: Console) -> Work:
        """Open data to pretrain on, and print what was found.

        Raises:
            UsageError: the data does not exist, or is of a kind that this modality does not read.
            DataError: the data cannot be used.
        """
        ...

    def holds(self, folder: Path) -> bool:
        """True if an ``encoder/`` folder was written by this modality."""
        ...

    def load(self, folder: Path, *, device: str | None) -> Embedder:
        """The encoder in an ``encoder/`` folder.

        Raises:
            FileRefusedError: a file is missing, damaged or unsafe.
        """
        ...

    def embed(self, embedder: Any, run: Path, data: object, out: Path, console: Console) -> int:
        """Write one embedding per readable input as Parquet; return the number of rows.

        Raises:
            DataError: nothing could be read.
        """
        ...

    def evaluation(self, folder: RunFolder, question: Question, console: Console) -> Evaluation:
        """The evaluation on labelled data: what is measured, the baselines first and the run's encoder last.

        Raises:
            UsageError: the data has no input for a probe, or does not have a given column.
            DataError: there are no labels, or the classes of train and test differ.
        """
        ...

    def inspect(self, folder: RunFolder, data: object, *, out: Path, console: Console) -> list[Path]:
        """Draw what a run has learnt; return the pictures that were written.

        Raises:
            UsageError: there are no pictures for this modality, or the run has no checkpoint.
        """
        ...


@runtime_checkable
class Whitens(Protocol):
    """A modality whose encoders can hold whitening statistics. Modalities of other packages may do without."""

    def whiten(self, folder: Path, run: Path, data: object, console: Console) -> int:
        """Add statistics of at most 20,000 inputs of ``data`` to an encoder; return the number of inputs.

        Args:
            folder: the ``encoder/`` folder.
            run: the run folder, which may say how data is read; or the ``encoder/`` folder.
            data: the data, in any form that pretraining reads.
            console: the console that shows how many inputs the statistics took, and how long.

        Raises:
            DataError: fewer than two inputs could be read.
        """
        ...

    def whitened(self, embedder: Any) -> Embedder:
        """The same embedder, whose embeddings are whitened by the statistics in its folder.

        Raises:
            UsageError: there are none; the message names the command that adds them.
        """
        ...
