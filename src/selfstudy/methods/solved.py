"""The base class of methods that are solved in a few passes over the data instead of stepped by gradients.

A stepped method says what the loss of a batch is; :class:`selfstudy.methods.base.Method` is its form. A solved method
says what is done in each of a few stages, and each stage reads the data as often as it needs.
"""

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar, Protocol

from torch import Tensor

from selfstudy.methods.base import Method, MethodConfig


class Read(Protocol):
    """The data of a solved method, in a fixed random order.

    Attributes:
        inputs: the number of inputs.
    """

    inputs: int

    def __call__(self, at_most: int | None = None) -> Iterator[Tensor]:
        """Start a pass over all inputs, or the first few: batches (B, ...), prepared as for embedding."""
        ...


class SolvedMethod(Method):
    """A method whose encoder is solved: no loss, no gradient, no optimizer.

    A subclass defines ``stages``, ``solve``, ``encoder_name`` and ``encoder_settings``; its views are those of an
    evaluation, one for each input. After each stage the run writes a checkpoint, so everything that a later stage needs
    must be a persistent buffer. A stage is a function of these buffers, the data and the seed, so a run that is killed
    and resumed ends with the same encoder.

    Attributes:
        stages: the names of the stages, in order.
        encoder_name: the encoder that the method solves.
        largest_side: the longest side of an image in pixels that the encoder looks at.
    """

    family: ClassVar[str] = "no gradient"
    stages: ClassVar[tuple[str, ...]]
    encoder_name: ClassVar[str]
    largest_side: ClassVar[int]

    @classmethod
    @abstractmethod
    def encoder_settings(cls, config: MethodConfig) -> dict[str, Any]:
        """The settings of the encoder that follow from those of the method."""

    @abstractmethod
    def solve(self, stage: int, read: Read, *, seed: int) -> dict[str, float]:
        """Do one stage, and return its figures for the log.

        Args:
            stage: the number of the stage, from 0.
            read: starts a pass over the inputs.
            seed: the seed of the run.

        Raises:
            DataError: the data cannot be solved, such as constant images.
        """
