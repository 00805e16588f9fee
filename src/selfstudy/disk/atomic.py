"""Files that appear whole or not at all: each is written next to its place, then moved there."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO

from selfstudy.disk.file_system import Bytes, FileSystem
from selfstudy.errors import RunFolderError


@contextmanager
def staged_file(file: Path, *, sync: bool = True) -> Iterator[BinaryIO]:
    """A new file, open for writing, that takes the place of ``file`` at the end of the block.

    An error in the block, or a kill at any moment, leaves ``file`` as it was.

    Args:
        file: the folder that holds it must exist.
        sync: wait until content and name are on the disk, so that a power cut leaves no empty file.

    Raises:
        OSError: the system refuses; nothing is left next to the file.
    """
    staged = file.with_name(f".{file.name}.tmp-{os.getpid()}")
    try:
        with staged.open("wb") as handle:
            yield handle
            if sync:
                handle.flush()
                os.fsync(handle.fileno())
        staged.replace(file)
    finally:
        staged.unlink(missing_ok=True)
    if sync:
        FileSystem().sync_folder(file.parent)


def replace_file(file: Path, content: Bytes, *, sync: bool = True) -> None:
    """Write all of a file's content; arguments and errors are those of :func:`staged_file`."""
    with staged_file(file, sync=sync) as handle:
        handle.write(content)


def refuse_existing(out: Path, *, overwrite: bool) -> None:
    """Raise if the file exists, or the folder holds files, unless they may be overwritten.

    Raises:
        RunFolderError: something is there.
    """
    if overwrite or not out.exists() or out.is_dir() and not any(out.iterdir()):
        return
    what = "already holds files" if out.is_dir() else "exists already"
    raise RunFolderError(f"{out} {what}\n--overwrite replaces what is there, --out names another place")


@contextmanager
def staged_folder(folder: Path) -> Iterator[Path]:
    """An empty folder whose files move into ``folder`` at the end of the block, in the order they were written.

    An error in the block leaves ``folder`` as it was.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as name:
        staged = Path(name)
        yield staged
        files = [file for file in staged.rglob("*") if file.is_file()]
        for file in sorted(files, key=lambda one: one.stat().st_mtime_ns):
            target = folder / file.relative_to(staged)
            target.parent.mkdir(parents=True, exist_ok=True)
            file.replace(target)
