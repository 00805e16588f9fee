"""File names as text that can be written down."""


def printable(name: str) -> str:
    r"""A file name as valid Unicode: bytes that are not UTF-8, which Python keeps as surrogates, are percent-escaped.

    >>> printable("caf\udce9.png")
    'caf%E9.png'
    """
    return "".join(f"%{ord(c) - 0xDC00:02X}" if 0xDC80 <= ord(c) <= 0xDCFF else c for c in name)
