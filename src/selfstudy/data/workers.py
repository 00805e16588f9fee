"""Worker processes that decode: how they start, and what it means when one dies."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from selfstudy.errors import EnvironmentFault, first_line

TIMEOUT_SECONDS = 120


def start_worker(_: int) -> None:
    """Start a worker with a single torch thread: the processes are the parallelism.

    Ctrl-C reaches every process of a terminal. The parent alone acts on it: it finishes its step, for which it needs
    batches, saves, and ends its workers.
    """
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


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
            f"a data worker died or hung: {first_line(error)}\nusually out of memory; {advice}"
        ) from error
