"""Images in a zip or tar archive, read in place: nothing is extracted to disk."""

import lzma
import os
import tarfile
import zipfile
import zlib
from pathlib import Path

from selfstudy.data.names import is_image_name
from selfstudy.errors import DataError
from selfstudy.images.decode import MAX_BYTES, BadInput
from selfstudy.images.members import EncodedImages, choose_split, class_of, require_images
from selfstudy.images.sources import Format

# Reading a member raises one of these if the file is gone or was replaced (KeyError), or if the member is damaged,
# encrypted (RuntimeError) or compressed in a way that Python does not know (NotImplementedError).
_UNREADABLE = (
    OSError,
    KeyError,
    EOFError,
    RuntimeError,
    NotImplementedError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
)


class _ZipReader:
    """The bytes of a member of a zip by its number; every process opens the archive for itself."""

    def __init__(self, path: Path, names: list[str]) -> None:
        self.path, self.names = path, names
        self._open: tuple[int, zipfile.ZipFile] | None = None

    def __getstate__(self) -> dict[str, object]:
        return {"path": self.path, "names": self.names, "_open": None}

    def __call__(self, index: int) -> bytes:
        try:
            if self._open is None or self._open[0] != os.getpid():
                self._open = (os.getpid(), zipfile.ZipFile(self.path))
            archive = self._open[1]
            if archive.getinfo(self.names[index]).file_size > MAX_BYTES:
                raise BadInput(f"more than {MAX_BYTES:,} bytes")
            return archive.read(self.names[index])
        except _UNREADABLE as error:
            raise BadInput(f"{type(error).__name__}: {error}") from None


class _TarReader:
    """The bytes of a member of an uncompressed tar by its number, read at its offset."""

    def __init__(self, path: Path, spans: list[tuple[int, int]]) -> None:
        self.path, self.spans = path, spans

    def __call__(self, index: int) -> bytes:
        start, size = self.spans[index]
        if size > MAX_BYTES:
            raise BadInput(f"more than {MAX_BYTES:,} bytes")
        try:
            with self.path.open("rb") as file:
                file.seek(start)
                return file.read(size)
        except OSError as error:
            raise BadInput(f"{type(error).__name__}: {error}") from None


def open_archive(path: Path, *, labels: bool, split: str | None) -> EncodedImages:
    """Every image in a ``.zip`` or an uncompressed ``.tar``.

    Raises:
        UsageError: the archive does not have the split.
        DataError: the archive is damaged or a compressed tar (which has no random access), there are no images, or
            labels are asked for and there are no class folders.
    """
    what = f"archive {path}"
    is_zip = path.suffix.lower() == ".zip"
    try:
        members = _zip_members(path) if is_zip else _tar_members(path)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, OSError) as error:
        raise DataError(
            f"{what} cannot be read: {error}\nallowed: .zip, and .tar without compression (unpack a .tar.gz first)"
        ) from None
    images = sorted((name for name in members if is_image_name(name)), key=os.fsencode)
    require_images(images, members, what)
    names, prefix = choose_split(images, split, what)
    sizes = [members[name][1] for name in names]
    return EncodedImages(
        names,
        sizes,
        fetch=_ZipReader(path, names) if is_zip else _TarReader(path, [members[name] for name in names]),
        label_names=class_of(names, prefix, what) if labels else None,
        what=f"{what}, {prefix.removesuffix('/')} part" if prefix else what,
    )


def _zip_members(path: Path) -> dict[str, tuple[int, int]]:
    with zipfile.ZipFile(path) as archive:
        return {info.filename: (info.header_offset, info.file_size) for info in archive.infolist() if not info.is_dir()}


def _tar_members(path: Path) -> dict[str, tuple[int, int]]:
    with tarfile.open(path, "r:") as archive:
        return {info.name.removeprefix("./"): (info.offset_data, info.size) for info in archive if info.isreg()}


_COMPRESSED = (".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst")  # no random access
FORMATS = (Format(open_archive, suffixes=(".zip", ".tar"), refused=_COMPRESSED),)
