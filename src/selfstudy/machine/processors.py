"""What this process may use of the machine: in a container often less than all of it."""

import math
import os
from contextlib import suppress
from pathlib import Path

import torch

_CGROUPS = Path("/sys/fs/cgroup")  # what Linux grants a container; of its two versions, either
_UNASKABLE = 8 * 10**9  # bytes


def processors() -> int:
    """Their number: those that its affinity allows, but no more than its share of their time comes to, rounded up."""
    allowed = len(os.sched_getaffinity(0)) if "sched_getaffinity" in dir(os) else os.cpu_count() or 1
    return math.ceil(min(allowed, _processor_share()))


def usable_memory() -> int:
    """Bytes: the machine's memory or, where it is less, the container's; 8 GB where it cannot be asked."""
    try:
        installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        installed = _UNASKABLE
    return min([installed, *_numbers("memory.max"), *_numbers("memory/memory.limit_in_bytes")])


def limit_threads(processes: int = 1) -> None:
    """Let torch use no more threads than this one of so many processes has processors: more wait for one another."""
    torch.set_num_threads(max(1, min(torch.get_num_threads(), processors() // processes)))


def _processor_share() -> float:
    """Processors' worth of time; infinity where no limit is set."""
    limit = _numbers("cpu.max") or [*_numbers("cpu/cpu.cfs_quota_us"), *_numbers("cpu/cpu.cfs_period_us")]
    return limit[0] / limit[1] if len(limit) == 2 and limit[0] > 0 else math.inf


def _numbers(name: str) -> list[int]:
    """The numbers in a file of the container's limits; none where it is missing or says that there is no limit."""
    with suppress(OSError, ValueError):
        return [int(word) for word in (_CGROUPS / name).read_text().split()]
    return []
