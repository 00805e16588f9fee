"""One process per run folder, by a lock that the kernel frees when its owner dies, kill -9 included."""

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

_PATIENCE_SECONDS = 1.0  # for an owner that has the lock and has not written its name yet
_RETRY_SECONDS = 0.5
_MAX_OWNER_BYTES = 4096


@contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Holds ``folder/.lock`` for the length of the block; the file itself stays.

    The lock is ``flock`` on Linux and macOS and a byte-range lock on Windows. It is advisory, and on a network file
    system that does not carry locks between machines it keeps apart only the processes of one machine.

    Raises:
        RunFolderError: another process holds it; the message names it.
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
        # A data worker forked from the owner has the handle too, and would keep the lock after the owner was killed.
        if sys.platform != "win32":
            os.register_at_fork(after_in_child=lambda: _close(held))
        _write_owner(handle)
        yield
    finally:
        _close(held)


@contextmanager
def patient_lock(folder: Path) -> Iterator[None]:
    """As :func:`run_lock`, but wait until the lock is free."""
    with ExitStack() as stack:
        while True:
            try:
                stack.enter_context(run_lock(folder))
                break
            except RunFolderError:
                time.sleep(_RETRY_SECONDS)
        yield


def _close(held: list[int]) -> None:
    """Close the lock's handle, once per process."""
    while held:
        os.close(held.pop())


def _try_lock(handle: int, path: Path) -> bool:
    """Take the lock without waiting; False when another process has it."""
    if sys.platform == "win32":
        import msvcrt

        os.lseek(handle, 1 << 20, os.SEEK_SET)  # far behind the text, so that others can still read it
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
    """Say who holds the lock."""
    owner = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
    os.ftruncate(handle, 0)
    os.lseek(handle, 0, os.SEEK_SET)
    os.write(handle, json.dumps(owner).encode())


def _owner(path: Path) -> str:
    """Who wrote the lock file, in words."""
    give_up = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            owner = read_json(path, _MAX_OWNER_BYTES)
            return f"process {owner['pid']} on {owner['host']}, since {owner['since']}"
        except (FileRefusedError, KeyError):
            if time.monotonic() > give_up:
                return "another process"
            time.sleep(0.05)
