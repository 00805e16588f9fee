"""What a modality gives: the one protocol behind which images, text and others stand."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from rich.console import Console

from selfstudy.config import RunConfig
from selfstudy.data.batches import Batches, Shard
from selfstudy.methods.base import Method
from selfstudy.probes.evaluation import Evaluation, Question
from selfstudy.runs.folder import RunFolder
from selfstudy.runs.resolved import Resolved
from selfstudy.train.loop import Render
from selfstudy.train.monitor import Unit


class Work(Protocol):
    """Opened data to pretrain on. A subclass may leave out what has a default here.

    Attributes:
        plateau: a loss at which runs get stuck, and what it means, if the data tell one.
    """

    plateau: tuple[float, str] | None = None

    def resolve(self) -> Resolved[Any]:
        """The configuration with everything decided, by measurements on this machine where nothing else decides.

        With several processes only the first one calls this; all of them train with its result.
        """
        ...

    def unit(self, resolved: Resolved[Any]) -> Unit:
        """What speed is counted in."""
        ...

    def build_method(self, resolved: Resolved[Any], *, fetch: bool = True) -> Method:
        """The method around a fresh encoder.

        Without ``fetch`` no weights come over the network: those of a checkpoint are loaded next.
        """
        ...

    def fingerprint(self) -> tuple[int, str]:
        """The number of inputs, and a digest that changes with them."""
        ...

    def write_beginning(self, folder: RunFolder, resolved: Resolved[Any]) -> None:
        """Write files of the run folder that describe the data; by default none."""
        return None

    def batches(self, resolved: Resolved[Any], shard: Shard) -> tuple[Batches, Render]:
        """This process's micro-batches, and the function that makes of one what the method receives."""
        ...

    def note_unreadable(self, folder: RunFolder, unreadable: Mapping[int, str], console: Console) -> None:
        """List inputs, by position and reason, that could not be read in training; by default, there are none."""
        return None

    def finish(self, folder: RunFolder, method: Method, resolved: Resolved[Any], console: Console) -> None:
        """Write ``encoder/``, and measure it where that needs no labels."""
        ...


class Embedder(Protocol):
    """A trained encoder with the preprocessing that it was trained with.

    Attributes:
        description: facts about the encoder, kept with everything it makes.
    """

    description: dict[str, Any]

    def embed(self, inputs: Any) -> np.ndarray:
        """Embeddings (n, D) float32 of one or several inputs."""
        ...


class Modality(Protocol):
    """One kind of data: how it is opened, trained on, embedded, evaluated and shown.

    Attributes:
        name: the word that ``data.modality`` holds: ``"images"`` or ``"text"``.
        settings: the settings model of its runs.
    """

    name: str
    settings: type[RunConfig]

    def open(self, data: Any, config: RunConfig, console: Console) -> Work:
        """Open data to pretrain on, saying what was found.

        Raises:
            UsageError: nothing there, or nothing that this modality reads.
            DataError: data that cannot be used.
        """
        ...

    def holds(self, folder: Path) -> bool:
        """True if an ``encoder/`` folder was written by this modality."""
        ...

    def load(self, folder: Path, *, device: str | None) -> Embedder:
        """The encoder in an ``encoder/`` folder.

        Raises:
            FileRefusedError: files that are missing, damaged or unsafe.
        """
        ...

    def embed(self, embedder: Any, run: Path, data: Any, out: Path, console: Console) -> int:
        """Write one embedding per readable input as Parquet; the number of rows.

        Raises:
            DataError: nothing could be read.
        """
        ...

    def evaluation(self, folder: RunFolder, question: Question, console: Console) -> Evaluation:
        """Open labelled data: what is measured on it, the baselines first and the run's encoder last.

        Raises:
            UsageError: a probe or a column that this data does not have.
            DataError: no labels, or train and test classes that differ.
        """
        ...

    def inspect(self, folder: RunFolder, data: Any, *, out: Path, console: Console) -> list[Path]:
        """Draw what a run has learnt; the pictures that were written.

        Raises:
            UsageError: nothing is drawn of this modality, or the run has no checkpoint.
        """
        ...
