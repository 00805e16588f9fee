"""Images in a folder and its sub-folders."""

import os
from collections.abc import Iterator
from pathlib import Path

from selfstudy.data.names import is_image_name, printable
from selfstudy.images.decode import read_bytes
from selfstudy.images.members import EncodedImages, choose_split, class_of, require_images
from selfstudy.images.sources import Format


class FileReader:
    """The bytes of a file by its number."""

    def __init__(self, paths: list[str]) -> None:
        self.paths = paths

    def __call__(self, index: int) -> bytes:
        """The content of file ``index``.

        Raises:
            BadInput: it cannot be read.
        """
        return read_bytes(Path(self.paths[index]))


def open_folder(root: Path, *, labels: bool, split: str | None) -> EncodedImages:
    """Every image under ``root``, sorted by the bytes of the relative paths.

    Only regular files count: links and hidden names are skipped, so there are no loops.

    Raises:
        UsageError: the folder does not have the split.
        DataError: there are no images, or labels are asked for and the folder has no class folders.
    """
    what = f"folder {root}"
    links: list[str] = []
    unlisted: list[str] = []
    everything = dict(sorted(_regular_files(root, root, links, unlisted), key=lambda item: os.fsencode(item[0])))
    images = [name for name in everything if is_image_name(name)]
    require_images(images, everything, what, links=len(links), unlisted=unlisted)
    names, prefix = choose_split(images, split, what)
    paths = [str(root / name) for name in names]
    return EncodedImages(
        names,
        [everything[name] for name in names],
        fetch=FileReader(paths),
        label_names=class_of(names, prefix, what) if labels else None,
        what=f"{what}, {prefix.removesuffix('/')} part" if prefix else what,
        paths=paths,
        warnings=unlisted,
    )


def _regular_files(root: Path, folder: Path, links: list[str], unlisted: list[str]) -> Iterator[tuple[str, int]]:
    """The relative path (with "/") and size of every regular file; adds to the lists of links and unlisted folders."""
    try:
        with os.scandir(folder) as scanned:
            entries = list(scanned)
    except OSError as error:
        name = printable(folder.relative_to(root).as_posix())
        unlisted.append(f"folder {name} cannot be listed: {error.strerror or error}")
        return
    for entry in entries:
        if entry.is_symlink():
            links.append(entry.path)
        elif entry.is_dir(follow_symlinks=False):
            if not entry.name.startswith("."):
                yield from _regular_files(root, Path(entry.path), links, unlisted)
        elif entry.is_file(follow_symlinks=False):
            yield Path(entry.path).relative_to(root).as_posix(), entry.stat(follow_symlinks=False).st_size


FORMATS = (Format(open_folder, suffixes=("/",)),)
