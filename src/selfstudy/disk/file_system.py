"""The system calls that a save consists of."""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

Bytes = bytes | bytearray | memoryview


class FileSystem:
    """The operating system as an object, so that a test can replace it and make any call fail.

    New files and folders get the permissions that the umask allows. Every method raises ``OSError`` if the system
    refuses.
    """

    def make_folder(self, path: Path) -> None:
        """Make a new folder, and its parents if they do not exist."""
        path.mkdir(parents=True)

    def write(self, path: Path, chunks: Iterable[Bytes]) -> None:
        """Write a new file, chunk by chunk, and wait until it is on the disk."""
        with open(path, "xb") as file:
            for chunk in chunks:
                file.write(chunk)
            file.flush()
            self.sync(file.fileno(), path)

    def sync(self, handle: int, path: Path) -> None:
        """Wait until everything written through ``handle`` is on the disk; ``path`` is its file or folder."""
        os.fsync(handle)

    def sync_folder(self, path: Path) -> None:
        """Wait until the names in a folder are on the disk, so that a power cut loses no new file."""
        if os.name == "nt":  # Windows cannot open a folder; NTFS journals names
            return
        handle = os.open(path, os.O_RDONLY)
        try:
            self.sync(handle, path)
        finally:
            os.close(handle)

    def rename(self, source: Path, target: Path) -> None:
        """Rename a folder."""
        source.rename(target)

    def remove(self, path: Path) -> None:
        """Delete a folder with its contents, or a file, or a link but not its target."""
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()

    def free_bytes(self, path: Path) -> int:
        """The free bytes on the disk of a folder; of its nearest existing parent if it does not exist."""
        while not path.exists():
            path = path.parent
        return shutil.disk_usage(path).free
