"""Micro-batches by number, of anything: which part of a step's batch this process takes, and who reads it."""

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol, cast

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from selfstudy.data.order import EpochOrder
from selfstudy.data.workers import TIMEOUT_SECONDS, deaths_explained, start_worker
from selfstudy.errors import UsageError


class Shard(NamedTuple):
    """Which part of the global batch this process takes: micro-batches of ``rank`` out of ``world_size``."""

    rank: int = 0
    world_size: int = 1
    accumulate: int = 1

    def require_parts(self, batch_size: int) -> None:
        """Refuse a batch that does not divide into equal micro-batches.

        Raises:
            UsageError: saying what it must be a multiple of.
        """
        parts = self.world_size * self.accumulate
        if batch_size % parts:
            raise UsageError(
                f"batch size {batch_size} does not divide by {self.world_size} processes x "
                f"{self.accumulate} micro-batches\nuse a multiple of {parts}"
            )

    def part(self, order: EpochOrder, item: int) -> tuple[int, Tensor]:
        """The epoch and the positions of micro-batch ``item % accumulate`` of step ``item // accumulate``."""
        step, micro = divmod(item, self.accumulate)
        epoch, positions = order.batch(step)
        return epoch, positions.chunk(self.world_size * self.accumulate)[micro * self.world_size + self.rank]


class Batches(Protocol):
    """Micro-batches by number, of images or of text; each says in ``failed`` what could not be read.

    Attributes:
        order: which inputs each step takes.
        shard: which part of a step's batch this process takes.
    """

    order: EpochOrder
    shard: Shard

    def __getitem__(self, item: int) -> Any:
        """Micro-batch ``item % accumulate`` of optimizer step ``item // accumulate``, as it leaves a worker."""
        ...


def micro_batches(data: Batches, *, first_step: int, workers: int, pin: bool = False) -> Iterator[Any]:
    """Micro-batches from ``first_step`` on, without end.

    Args:
        data: what they are of.
        first_step: the first optimizer step, from 0.
        workers: processes that read them; 0 for this one.
        pin: whether what workers read goes into pinned memory, from which CUDA copies without being waited for.

    Raises:
        EnvironmentFault: a worker process died or hung.
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
        generator=torch.Generator(),  # else the loader would draw from torch's own, inside the first step
    )
    with deaths_explained("try --workers 1, then continue with --resume"):
        yield from loader
