"""CPUs and memory that this process may use: in a container often less than the machine has."""

import math
import os
from contextlib import suppress
from pathlib import Path

import torch

_CGROUPS = Path("/sys/fs/cgroup")  # limits that Linux sets for a container, in version 1 or 2
_STATM = Path("/proc/self/statm")  # sizes in pages; the second one is that of the memory in use
_UNKNOWN_MEMORY = 8 * 10**9  # bytes assumed where the system does not say


def processors() -> int:
    """The number of CPUs this process may use: its affinity mask, capped by the cgroup quota, rounded up."""
    allowed = len(os.sched_getaffinity(0)) if "sched_getaffinity" in dir(os) else os.cpu_count() or 1
    return math.ceil(min(allowed, _processor_share()))


def usable_memory() -> int:
    """The memory this process may use, in bytes: the smaller of the machine's and the cgroup's; 8 GB if unknown."""
    try:
        installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        installed = _UNKNOWN_MEMORY
    return min([installed, *_numbers("memory.max"), *_numbers("memory/memory.limit_in_bytes")])


def used_memory() -> int:
    """The memory that this process uses now, in bytes; 0 where the system does not say."""
    with suppress(OSError, ValueError, IndexError):
        return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def limit_threads(processes: int = 1) -> None:
    """Cap torch's threads at this process's share of the CPUs: more threads only wait for one another.

    Args:
        processes: number of processes that share the CPUs.
    """
    torch.set_num_threads(max(1, min(torch.get_num_threads(), processors() // processes)))


def _processor_share() -> float:
    """The cgroup quota in CPUs; infinity without a quota."""
    limit = _numbers("cpu.max") or [*_numbers("cpu/cpu.cfs_quota_us"), *_numbers("cpu/cpu.cfs_period_us")]
    return limit[0] / limit[1] if len(limit) == 2 and limit[0] > 0 else math.inf


def _numbers(name: str) -> list[int]:
    """The numbers in a cgroup file; none if the file is missing or says ``max``."""
    with suppress(OSError, ValueError):
        return [int(word) for word in (_CGROUPS / name).read_text().split()]
    return []
