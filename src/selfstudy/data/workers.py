"""Worker processes that decode: how they start, and what it means when one dies."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from selfstudy.errors import EnvironmentFault

TIMEOUT_SECONDS = 120


def one_thread(_: int) -> None:
    """Start a worker with a single torch thread: the processes are the parallelism."""
    torch.set_num_threads(1)


@contextmanager
def deaths_explained(advice: str) -> Iterator[None]:
    """Turns torch's report of a dead or hung worker into one with advice.

    Raises:
        EnvironmentFault: a worker of a ``DataLoader`` used inside the block died or hung.
    """
    try:
        yield
    except RuntimeError as error:
        if "DataLoader" not in str(error):
            raise
        raise EnvironmentFault(
            f"a data worker died or hung: {str(error).splitlines()[0]}\nusually out of memory; {advice}"
        ) from error
