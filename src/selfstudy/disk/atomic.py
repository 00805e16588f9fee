"""Files that appear whole or not at all: written beside their place, then moved there. Any room may use these."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory


def replace_file(file: Path, content: bytes, *, sync: bool = True) -> None:
    """Write a file whole: a kill leaves the old content, or none.

    Args:
        file: its folder must exist.
        content: all of it.
        sync: wait until it is on the disk, so that losing power leaves no empty file either.

    Raises:
        OSError: the system refuses; nothing is left beside the file.
    """
    staged = file.with_name(f".{file.name}.tmp-{os.getpid()}")
    try:
        with staged.open("wb") as handle:
            handle.write(content)
            handle.flush()
            if sync:
                os.fsync(handle.fileno())
        staged.replace(file)
    finally:
        staged.unlink(missing_ok=True)


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
