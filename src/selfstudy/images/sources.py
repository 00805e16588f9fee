"""The protocol of every source of images, and the declaration of what can be opened as one."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from torch import Tensor

from selfstudy.images.decode import BadInput, decode, shrunk

__all__ = ["BadInput", "Format", "Some", "Source", "read_shrunk"]


class Source(Protocol):
    """Images by number.

    Attributes:
        ids: unique names; relative paths if the images are files.
        paths: absolute paths; "" for an image that is not a file of its own.
        labels: class numbers (N,) int64, or None.
        class_names: the name of each class number, or None.
        warnings: sentences about inputs that could not be listed.
    """

    labels: np.ndarray | None
    class_names: list[str] | None
    warnings: list[str]

    @property
    def ids(self) -> Sequence[str]: ...  # noqa: D102 - described above

    @property
    def paths(self) -> Sequence[str]: ...  # noqa: D102 - described above

    def __len__(self) -> int:
        """The number of inputs, readable or not."""
        ...

    def read(self, index: int) -> Tensor:
        """Image ``index``: (C, H, W) uint8, or float32 in [0, 1].

        Raises:
            BadInput: it cannot be read.
        """
        ...

    def encoded(self, index: int) -> bytes | None:
        """The bytes of the encoded image, or None if the images are arrays.

        Raises:
            BadInput: they cannot be read.
        """
        ...

    def describe(self) -> str:
        """A few words about the source, for messages."""
        ...

    def fingerprint(self) -> str:
        """A digest that changes when inputs are added or removed."""
        ...


def read_shrunk(source: Source, index: int, side: int | None) -> Tensor:
    """Image ``index`` (C, H, W) with a shorter side of at most ``side`` pixels; None reads it as it is.

    Raises:
        BadInput: it cannot be read.
    """
    encoded = None if side is None else source.encoded(index)
    return shrunk(source.read(index), side) if encoded is None else decode(encoded, side)


class Some:
    """A part of a source; see :class:`Source` for its attributes and methods.

    Args:
        source: the whole.
        indices: the numbers in the whole of the images of the part.
    """

    def __init__(self, source: Source, indices: Sequence[int]) -> None:
        self._source, self._indices = source, indices
        self.ids, self.paths = ([names[index] for index in indices] for names in (source.ids, source.paths))
        self.labels = None if source.labels is None else source.labels[np.asarray(indices)]
        self.class_names, self.warnings = source.class_names, source.warnings
        self.read: Callable[[int], Tensor] = lambda index: source.read(indices[index])
        self.encoded: Callable[[int], bytes | None] = lambda index: source.encoded(indices[index])
        self.describe, self.fingerprint = source.describe, source.fingerprint

    def __len__(self) -> int:
        """The number of images of the part."""
        return len(self._indices)


class Format(NamedTuple):
    """One kind of path or name, declared by the file that opens it.

    Attributes:
        open: makes the source of a path, or of the name after the prefix. It takes ``labels`` and ``split``, and
            ``label_column`` if it has columns; :func:`selfstudy.images.opening.open_source` describes all three.
        suffixes: the ends of its files' names, in lower case; "/" is the end of a folder.
        refused: ends of names that are close to it; ``open`` raises an error that says what to do instead.
        prefix: ``sample`` for data named ``sample:NAME``.
        has_columns: True for tables.
    """

    open: Callable[..., Source]
    suffixes: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    prefix: str = ""
    has_columns: bool = False
