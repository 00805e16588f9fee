"""Worker processes that read data: how they start, and what a dead one is reported as."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from selfstudy.errors import EnvironmentFault, first_line

TIMEOUT_SECONDS = 120


def start_worker(_: int) -> None:
    """Set up a worker process: one torch thread, since the processes run in parallel, and Ctrl-C ignored.

    Ctrl-C reaches every process of a terminal. Only the parent acts on it: it finishes its step, which needs batches,
    saves, and ends its workers.
    """
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def deaths_explained(advice: str) -> Iterator[None]:
    """Replace torch's error about a dead or hung worker by one with advice.

    Raises:
        EnvironmentFault: a worker of a ``DataLoader`` that is used in the block died or does not answer.
    """
    try:
        yield
    except RuntimeError as error:
        if "DataLoader" not in str(error):
            raise
        raise EnvironmentFault(
            f"a data worker died or hung: {first_line(error)}\nusually out of memory; {advice}"
        ) from error
