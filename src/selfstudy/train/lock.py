"""One process per run folder, by a lock that the kernel frees when its owner dies."""

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selfstudy.errors import EnvironmentFault, RunFolderError


@contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Holds ``folder/.lock`` for the length of the block.

    The lock is advisory: on network file systems whose locks do not work, two machines are not kept apart.

    Raises:
        RunFolderError: another process holds it; the message names it.
        EnvironmentFault: the lock file cannot be opened.
    """
    path = folder / ".lock"
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
    except OSError as error:
        raise EnvironmentFault(f"cannot open {path}: {error.strerror}") from None
    try:
        if not _try_lock(handle):
            raise RunFolderError(
                f"{folder} is in use by {_owner(path)}\nwait for it, stop it, or name another folder with --out"
            )
        owner = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps(owner).encode(), 0)
        yield
    finally:
        os.close(handle)


def _try_lock(handle: int) -> bool:
    """Take the lock without waiting; False when another process has it."""
    try:
        import fcntl
    except ImportError:  # Windows: lock one byte far behind the text, so that the owner can still be read
        import msvcrt

        os.lseek(handle, 1 << 20, os.SEEK_SET)
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        except OSError:
            return False
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _owner(path: Path) -> str:
    """Who wrote the lock file, in words."""
    try:
        owner = json.loads(path.read_text(encoding="utf-8"))
        return f"process {owner['pid']} on {owner['host']}, since {owner['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
