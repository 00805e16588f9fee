"""Micro-batches by number, of images or text: the part of a batch that this process takes, and who reads it."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol, cast

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from selfstudy.data.order import EpochOrder
from selfstudy.data.workers import TIMEOUT_SECONDS, deaths_explained, start_worker
from selfstudy.errors import UsageError


class Shard(NamedTuple):
    """The part of the global batch that this process takes.

    Attributes:
        rank: the number of this process, from 0.
        world_size: the number of processes.
        accumulate: the number of micro-batches of each process in one optimizer step.
    """

    rank: int = 0
    world_size: int = 1
    accumulate: int = 1

    def require_parts(self, batch_size: int) -> None:
        """Raise unless the batch divides into equal micro-batches.

        Raises:
            UsageError: it does not; the message names the number whose multiples are allowed.
        """
        parts = self.world_size * self.accumulate
        if batch_size % parts:
            raise UsageError(
                f"batch size {batch_size} does not divide by {self.world_size} processes x "
                f"{self.accumulate} micro-batches\nuse a multiple of {parts}"
            )

    def part(self, order: EpochOrder, item: int) -> tuple[int, Tensor]:
        """The epoch and positions (b,) int64 of micro-batch ``item % accumulate`` of step ``item // accumulate``."""
        step, micro = divmod(item, self.accumulate)
        epoch, positions = order.batch(step)
        return epoch, positions.chunk(self.world_size * self.accumulate)[micro * self.world_size + self.rank]


class Passes(NamedTuple):
    """Inputs that are read in whole passes, prepared as for embedding, in a fixed random order.

    Attributes:
        inputs: the number of inputs of a whole pass.
        batches: starts a pass over the first ``n`` inputs: tensors (B, ...). It notes the inputs that could not be
            read, with the reasons by position, in the mapping that it gets.
    """

    inputs: int
    batches: Callable[[int, dict[int, str]], Iterator[Tensor]]


class Batches(Protocol):
    """Micro-batches by number, of images or of text. Each lists in ``failed`` the inputs that could not be read.

    Attributes:
        order: the inputs of each step.
        shard: the part of each batch that this process takes.
    """

    order: EpochOrder
    shard: Shard

    def __getitem__(self, item: int) -> Any:
        """Micro-batch ``item % accumulate`` of optimizer step ``item // accumulate``, as a worker returns it."""
        ...


def micro_batches(data: Batches, *, first_step: int, workers: int, pin: bool = False) -> Iterator[Any]:
    """An endless iterator over micro-batches, from ``first_step`` on.

    Args:
        data: the micro-batches by number.
        first_step: the first optimizer step, from 0.
        workers: the number of processes that read; 0 reads in this process.
        pin: True to put what workers read into pinned memory, from which CUDA copies asynchronously.

    Raises:
        EnvironmentFault: a worker process died or does not answer.
    """
    first = first_step * data.shard.accumulate
    if workers == 0:
        while True:
            yield data[first]
            first += 1
    sampler = range(first, first + 2**31)
    loader = DataLoader(
        cast(Dataset[Any], data),
        batch_size=None,
        sampler=sampler,
        num_workers=workers,
        timeout=TIMEOUT_SECONDS,
        worker_init_fn=start_worker,
        pin_memory=pin,
        generator=torch.Generator(),  # without one, the loader draws from torch's global generator in the first step
    )
    with deaths_explained("try --workers 1, then continue with --resume"):
        yield from loader
