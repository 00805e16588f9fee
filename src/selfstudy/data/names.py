"""What files and data are called where it is written down or said."""

from pathlib import Path


def printable(name: str) -> str:
    r"""A file name as valid Unicode: bytes that are not UTF-8, which Python keeps as surrogates, are percent-escaped.

    >>> printable("caf\udce9.png")
    'caf%E9.png'
    """
    return "".join(f"%{ord(c) - 0xDC00:02X}" if 0xDC80 <= ord(c) <= 0xDCFF else c for c in name)


def name_of(data: object) -> str:
    """What data are called: a path or name as it was given, the kind of anything else."""
    return str(data) if isinstance(data, str | Path) else type(data).__name__
