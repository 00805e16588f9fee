"""Names of files and data: what they tell about the contents, and how they are printed."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

IMAGE_EXTENSIONS = frozenset(
    {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm"}
)
KINDS = {
    **dict.fromkeys((".txt", ".text", ".md", ".rst"), "plain"),
    **dict.fromkeys((".jsonl", ".ndjson", ".json-lines"), "jsonl"),
    **{".csv": "csv", ".tsv": "tsv", ".parquet": "parquet"},
}
TRAIN_NAMES, TEST_NAMES = ("train", "training"), ("test", "testing", "val", "valid", "validation")
_IGNORED = {"__MACOSX", "Thumbs.db", "desktop.ini"}


def printable(name: str) -> str:
    r"""The file name as valid Unicode. Bytes that are not UTF-8, which Python keeps as surrogates, are percent-escaped.

    >>> printable("caf\udce9.png")
    'caf%E9.png'
    """
    return "".join(f"%{ord(c) - 0xDC00:02X}" if 0xDC80 <= ord(c) <= 0xDCFF else c for c in name)


def name_of(data: object) -> str:
    """The name of data for messages: a path or name as it was given, else the name of its type."""
    return str(data) if isinstance(data, str | Path) else type(data).__name__


def is_image_name(name: str) -> bool:
    """True if a relative path has the suffix of an image and is not a hidden or system file."""
    parts = PurePosixPath(name).parts
    hidden = any(part.startswith(".") or part in _IGNORED for part in parts)
    return not hidden and os.path.splitext(name)[1].lower() in IMAGE_EXTENSIONS


def kind_of(name: str) -> str | None:
    """The kind of a text file by its suffix: ``plain``, ``jsonl``, ``csv``, ``tsv``, ``parquet``, or None."""
    unzipped = name.lower().removesuffix(".gz")
    kind = KINDS.get(os.path.splitext(unzipped)[1])
    return None if kind == "parquet" and unzipped != name.lower() else kind


def part_named(known: Sequence[str], tops: Iterable[str]) -> str | None:
    """The first name in ``known`` that is among ``tops`` in any case, as ``tops`` spells it; None without one."""
    folded = {top.lower(): top for top in tops}
    return next((folded[name] for name in known if name in folded), None)
