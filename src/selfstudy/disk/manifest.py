"""Folders with a manifest that lists the size and the SHA-256 digest of every file."""

import hashlib
import json
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from selfstudy.disk.file_system import Bytes
from selfstudy.disk.reading import file_digest, read_json
from selfstudy.errors import FileRefusedError

FORMAT_VERSION = 1
MANIFEST = "MANIFEST.json"
_MAX_MANIFEST_BYTES = 2**20


class NewerFormat(FileRefusedError):
    """The folder was written by a later version of selfstudy."""


class Tally:
    """An iterator over the chunks of a file that counts and digests them as they pass."""

    def __init__(self, chunks: Iterable[Bytes]) -> None:
        self._chunks, self._bytes, self._digest = chunks, 0, hashlib.sha256()

    def __iter__(self) -> Iterator[Bytes]:
        for chunk in self._chunks:
            self._bytes += len(chunk)
            self._digest.update(chunk)
            yield chunk

    def entry(self) -> dict[str, int | str]:
        """The manifest entry of the chunks that have passed: ``bytes`` and ``sha256``."""
        return {"bytes": self._bytes, "sha256": self._digest.hexdigest()}


def manifest_text(entries: Mapping[str, Mapping[str, object]], version: int = FORMAT_VERSION) -> bytes:
    """The manifest of a folder as JSON. It holds its own digest, so that damage is not mistaken for a newer format."""
    content = {"format_version": version, "files": entries}
    return json.dumps(content | {"sha256": _own_digest(content)}, indent=1).encode()


def verify(folder: Path, largest: Mapping[str, int]) -> None:
    """Raise unless a folder holds its manifest and exactly the files that are expected, all undamaged.

    Args:
        folder: the folder to check.
        largest: the expected files: by name, the largest size in bytes that is read.

    Raises:
        NewerFormat: a later version of selfstudy wrote the folder.
        FileRefusedError: anything else is wrong; the message names the file.
    """
    try:
        _verify(folder, largest)
    except OSError as error:
        raise FileRefusedError(f"{error.filename or folder}: {error.strerror}") from None


def _verify(folder: Path, largest: Mapping[str, int]) -> None:
    if folder.is_symlink() or not folder.is_dir():
        raise FileRefusedError(f"{folder}: not a folder")
    wanted = {*largest, MANIFEST}
    _require_same(folder, "found", {item.name for item in folder.iterdir()}, wanted)
    for name in wanted:
        if not stat.S_ISREG((folder / name).lstat().st_mode):
            raise FileRefusedError(f"{folder / name}: not a regular file")
    entries = _entries(folder / MANIFEST)
    # Only these names are opened, so no listed path can lead out of the folder.
    _require_same(folder / MANIFEST, "listed", set(entries), set(largest))
    for name, most in largest.items():
        _verify_file(folder / name, entries[name], most)


def _require_same(where: Path, verb: str, names: set[str], wanted: set[str]) -> None:
    """Raise if a name is missing, or one is there that is not expected."""
    if wanted - names:
        raise FileRefusedError(f"{where}: {sorted(wanted - names)[0]!r} is missing")
    if names - wanted:
        raise FileRefusedError(f"{where}: {sorted(names - wanted)[0]!r} is {verb} and does not belong there")


def _entries(file: Path) -> dict[str, Any]:
    """The entries of a manifest whose own digest and version are right."""
    content = read_json(file, _MAX_MANIFEST_BYTES)
    claimed, version, entries = content.pop("sha256", None), content.get("format_version"), content.get("files")
    if claimed != _own_digest(content) or not isinstance(version, int) or not isinstance(entries, dict):
        raise FileRefusedError(f"{file}: damaged, its own digest does not fit")
    if version > FORMAT_VERSION:
        raise NewerFormat(
            f"{file}: format version {version}, this selfstudy reads up to {FORMAT_VERSION}\n"
            "install the selfstudy that wrote it, or a later one"
        )
    return entries


def _verify_file(file: Path, entry: object, most: int) -> None:
    """Raise unless the size and the digest of a file are those of its entry."""
    size = file.stat().st_size
    if size > most:
        raise FileRefusedError(f"{file}: {size:,} bytes, at most {most:,} are read")
    if not isinstance(entry, dict) or size != entry.get("bytes"):
        raise FileRefusedError(f"{file}: {size:,} bytes, the manifest says otherwise")
    digest, listed = file_digest(file), entry.get("sha256")
    if digest != listed:
        raise FileRefusedError(f"{file}: damaged, digest {digest[:12]}, the manifest says {str(listed)[:12]}")


def _own_digest(content: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
