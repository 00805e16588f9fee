"""A lock on a folder, for one process at a time. The kernel frees it when the owner dies, even by kill -9.

The package ``filelock`` is not used: before its version 4 it empties the lock file at every try, so that nobody could
read who holds the lock, and a forked worker keeps the lock after the owner was killed.
"""

import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from selfstudy.disk.reading import read_json
from selfstudy.errors import EnvironmentFault, FileRefusedError, RunFolderError

_PATIENCE_SECONDS = 1.0  # the time an owner may take to write its name after it got the lock
_RETRY_SECONDS = 0.5
_MAX_OWNER_BYTES = 4096


@contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Hold ``folder/.lock`` during the block; the file stays afterwards.

    The lock is ``flock`` on Linux and macOS and a byte-range lock on Windows. It is advisory. On a network file system
    that does not share locks between machines, it only separates the processes of one machine.

    Raises:
        RunFolderError: another process holds the lock; the message names it.
        EnvironmentFault: the lock file cannot be opened, or the file system has no locks.
    """
    path = folder / ".lock"
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
    except OSError as error:
        raise EnvironmentFault(f"cannot open the lock {path}: {error.strerror}") from None
    held = [handle]
    try:
        if not _try_lock(handle, path):
            raise RunFolderError(
                f"{folder} is in use by {_owner(path)}\nwait for it, stop it, or name another folder with --out"
            )
        # A data worker forked from the owner inherits the handle, and would keep the lock if the owner is killed.
        if sys.platform != "win32":
            os.register_at_fork(after_in_child=lambda: _close(held))
        _write_owner(handle)
        yield
    finally:
        _close(held)


@contextmanager
def patient_lock(folder: Path) -> Iterator[None]:
    """Hold the lock of :func:`run_lock`; wait until it is free."""
    with ExitStack() as stack:
        while True:
            try:
                stack.enter_context(run_lock(folder))
                break
            except RunFolderError:
                time.sleep(_RETRY_SECONDS)
        yield


def _close(held: list[int]) -> None:
    """Close the handle of the lock, once per process."""
    while held:
        os.close(held.pop())


def _try_lock(handle: int, path: Path) -> bool:
    """Try to take the lock without waiting; False if another process has it."""
    if sys.platform == "win32":
        import msvcrt

        os.lseek(handle, 1 << 20, os.SEEK_SET)  # far behind the text, which others must be able to read
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise EnvironmentFault(
            f"cannot lock {path}: {error.strerror}\nthe file system has no locks; name a folder elsewhere with --out"
        ) from None
    return True


def _write_owner(handle: int) -> None:
    """Write who holds the lock into the lock file."""
    owner = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
    os.ftruncate(handle, 0)
    os.lseek(handle, 0, os.SEEK_SET)
    os.write(handle, json.dumps(owner).encode())


def _owner(path: Path) -> str:
    """The process that wrote the lock file, in words."""
    give_up = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            owner = read_json(path, _MAX_OWNER_BYTES)
            return f"process {owner['pid']} on {owner['host']}, since {owner['since']}"
        except (FileRefusedError, KeyError):
            if time.monotonic() > give_up:
                return "another process"
            time.sleep(0.05)
