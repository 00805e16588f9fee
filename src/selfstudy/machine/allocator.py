"""Options of the C allocator: keeping freed memory speeds up training on CPUs, returning it saves memory."""

import ctypes
import platform
from collections.abc import Iterator
from contextlib import contextmanager

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # from glibc's malloc.h
_ONE_GIB, _LARGE = 1 << 30, 1 << 22


def keep_freed_memory() -> bool:
    """Tell glibc to reuse large freed blocks instead of returning them to the system at once.

    By default every large tensor is a new mapping whose pages fault in one by one. Reuse makes the forward and backward
    pass of resnet10t at batch 512 x 32 px 1.3 to 1.4 times faster on 2 cores. The price: the process keeps its peak
    memory.

    Returns:
        True on success, False on other C libraries, where nothing happens.
    """
    if (libc := _glibc()) is None:
        return False
    return bool(libc.mallopt(_M_MMAP_THRESHOLD, _ONE_GIB)) and bool(libc.mallopt(_M_TRIM_THRESHOLD, 2 * _ONE_GIB - 1))


def return_large_blocks() -> bool:
    """Tell glibc to return every block of 4 MiB or more as soon as it is freed.

    By default it stops doing so after the first large block, and then mixes large blocks with small ones, which it
    cannot return. Tokenising 121 MB takes 1,240 MiB by default and 1,080 MiB this way, at the same speed.

    Returns:
        True on success, False on other C libraries, where nothing happens.
    """
    libc = _glibc()
    return libc is not None and bool(libc.mallopt(_M_MMAP_THRESHOLD, _LARGE))


@contextmanager
def freed_memory_returned() -> Iterator[None]:
    """Inside the block freed memory goes back to the system at once; after it, what training frees is kept."""
    return_large_blocks()
    yield
    give_back_freed_memory()  # opening much data needs more memory than training
    keep_freed_memory()


def give_back_freed_memory() -> bool:
    """Tell glibc to return the freed memory that it has kept for reuse.

    Training a tokenizer on 20 MB of noisy text leaves half a gigabyte behind that nothing needs afterwards.

    Returns:
        True if memory was returned to the system.
    """
    libc = _glibc()
    return libc is not None and bool(libc.malloc_trim(0))


def _glibc() -> ctypes.CDLL | None:
    return ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None
