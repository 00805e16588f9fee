"""What every source of images gives: images by number, with ids, and labels when asked for."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from torch import Tensor

from selfstudy.images.decode import BadInput

__all__ = ["BadInput", "Format", "Source"]


class Source(Protocol):
    """Images by number.

    Attributes:
        ids: unique names, relative paths where there are files.
        paths: absolute paths, or "" for images that are no files of their own.
        labels: (N,) int64 class numbers, or None.
        class_names: of the labels, or None.
        warnings: sentences on inputs that could not even be listed.
    """

    labels: np.ndarray | None
    class_names: list[str] | None
    warnings: list[str]

    @property
    def ids(self) -> Sequence[str]: ...  # noqa: D102 - described above

    @property
    def paths(self) -> Sequence[str]: ...  # noqa: D102 - described above

    def __len__(self) -> int:
        """How many inputs, readable or not."""
        ...

    def read(self, index: int) -> Tensor:
        """Image ``index`` (C, H, W), uint8, or float32 in [0, 1]; raises BadInput."""
        ...

    def encoded(self, index: int) -> bytes | None:
        """The encoded file behind an image, or None for images that are arrays."""
        ...

    def describe(self) -> str:
        """What this is, in a few words."""
        ...

    def fingerprint(self) -> str:
        """A digest of the ids and sizes, which changes when inputs come or go."""
        ...


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
