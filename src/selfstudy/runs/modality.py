"""What pretraining asks of its material, images or text."""

from collections.abc import Mapping
from typing import Protocol

from rich.console import Console

from selfstudy.config import RunConfig
from selfstudy.data.batches import Batches, Shard
from selfstudy.methods.base import Method
from selfstudy.runs.draft import Resolved
from selfstudy.runs.folder import RunFolder
from selfstudy.train.loop import Render
from selfstudy.train.monitor import Unit


class Work(Protocol):
    """Opened data, with the settings of a run on it.

    Attributes:
        unit: what speed is counted in.
        plateau: a loss at which runs get stuck, and what it means, if the data tell one.
    """

    unit: Unit
    plateau: tuple[float, str] | None

    def build_method(self, *, fetch: bool = True) -> tuple[Method, Resolved]:
        """The method around a fresh encoder, and the settings with nothing left to decide.

        Without ``fetch`` no weights come over the network: those of a checkpoint are loaded next.
        """
        ...

    def fingerprint(self) -> tuple[int, str]:
        """How many inputs there are, and a digest that changes with them."""
        ...

    def write_beginning(self, folder: RunFolder, resolved: Resolved) -> None:
        """Write down what the data are."""
        ...

    def batches(self, config: RunConfig, shard: Shard) -> tuple[Batches, Render]:
        """This process's micro-batches, and what makes of one what the method receives."""
        ...

    def note_unreadable(self, folder: RunFolder, unreadable: Mapping[int, str], console: Console) -> None:
        """List inputs, by position and reason, that could not be read in training."""
        ...

    def finish(self, folder: RunFolder, method: Method, resolved: Resolved, console: Console) -> None:
        """Write what users take away, and say how good it is where that needs no labels."""
        ...
