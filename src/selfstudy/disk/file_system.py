"""The system calls a save is made of."""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

Bytes = bytes | bytearray | memoryview


class FileSystem:
    """The operating system, as an object so that a test can stand in for it and make any call fail.

    Files and folders get the modes that the umask leaves. Every method raises ``OSError`` where the system refuses.
    """

    def make_folder(self, path: Path) -> None:
        """Make a new folder, and its parents."""
        path.mkdir(parents=True)

    def write(self, path: Path, chunks: Iterable[Bytes]) -> None:
        """Write a new file, chunk by chunk, and sync it."""
        with open(path, "xb") as file:
            for chunk in chunks:
                file.write(chunk)
            file.flush()
            self.sync(file.fileno(), path)

    def sync(self, handle: int, path: Path) -> None:
        """Wait until what was written through ``handle`` is on the disk; ``path`` says what it is."""
        os.fsync(handle)

    def sync_folder(self, path: Path) -> None:
        """Wait until the names in a folder are on the disk."""
        if os.name == "nt":  # Windows opens no folder; NTFS journals names itself
            return
        handle = os.open(path, os.O_RDONLY)
        try:
            self.sync(handle, path)
        finally:
            os.close(handle)

    def rename(self, source: Path, target: Path) -> None:
        """Give a folder another name."""
        source.rename(target)

    def remove(self, path: Path) -> None:
        """Delete a folder with all it holds, or a file or link."""
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()

    def free_bytes(self, path: Path) -> int:
        """Free bytes on the disk of a folder, or of its nearest parent while it does not exist."""
        while not path.exists():
            path = path.parent
        return shutil.disk_usage(path).free
