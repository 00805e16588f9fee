"""Encoded images with names: what folders, archives and tables have in common."""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from torch import Tensor

from selfstudy.data.names import IMAGE_EXTENSIONS, TEST_NAMES, TRAIN_NAMES, kind_of, part_named
from selfstudy.errors import DataError, UsageError
from selfstudy.images.decode import decode


class EncodedImages:
    """Encoded images by number, wherever their bytes are.

    Args:
        ids: unique names.
        sizes: the number of bytes of each image, -1 if unknown.
        fetch: returns the bytes of image number i; can be pickled.
        label_names: the class name of each image, or None.
        what: a few words about the source.
        paths: absolute paths, if the images are files.
        warnings: sentences about inputs that could not be listed.
    """

    def __init__(
        self,
        ids: Sequence[str],
        sizes: Sequence[int],
        *,
        fetch: Callable[[int], bytes],
        label_names: Sequence[str] | None,
        what: str,
        paths: Sequence[str] | None = None,
        warnings: Sequence[str] = (),
    ) -> None:
        self.ids, self._sizes, self._fetch, self._what = ids, sizes, fetch, what
        self.paths = paths if paths is not None else [""] * len(ids)
        self.warnings = list(warnings)
        self.class_names = None if label_names is None else sorted(set(label_names))
        self.labels: np.ndarray | None = None
        if label_names is not None and self.class_names is not None:
            numbers = {name: number for number, name in enumerate(self.class_names)}
            self.labels = np.array([numbers[name] for name in label_names], dtype=np.int64)

    def __len__(self) -> int:
        """The number of images."""
        return len(self.ids)

    def encoded(self, index: int) -> bytes:
        """The bytes of image ``index``.

        Raises:
            BadInput: they cannot be read.
        """
        return self._fetch(index)

    def read(self, index: int) -> Tensor:
        """The decoded image (C, H, W).

        Raises:
            BadInput: it cannot be read or decoded.
        """
        return decode(self._fetch(index))

    def describe(self) -> str:
        """A few words about the source."""
        return self._what

    def fingerprint(self) -> str:
        """The SHA-256 of all ids and sizes."""
        lines = (f"{name}\0{size}\n" for name, size in zip(self.ids, self._sizes, strict=True))
        return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def choose_split(names: Iterable[str], split: str | None, what: str) -> tuple[list[str], str]:
    """The names (relative, with "/") of one split, and the prefix they share (``"train/"`` or ``""``).

    If ``split`` is None, data with two splits gives its train part, and other data all of its names. A folder named
    as a test split counts as one only if there is a train split.

    Raises:
        UsageError: the data does not have the split.
    """
    names = list(names)
    tops = {name.partition("/")[0] for name in names if "/" in name}
    train, test = part_named(TRAIN_NAMES, tops), part_named(TEST_NAMES, tops)
    # without a train folder, a folder named "valid" or "test" may be a class
    if split == "test" and (train is None or test is None) or split == "train" and test is not None and train is None:
        raise UsageError(f"{what} has no {split!r} split\nsplits are two folders at its top, named train and test")
    if split is None and (train is None or test is None) or split == "train" and train is None:
        return names, ""
    prefix = f"{test if split == 'test' else train}/"
    return [name for name in names if name.startswith(prefix)], prefix


def refuse_test_split(split: str | None, what: str) -> None:
    """Raise if the test split is asked for of data that has one part: its images are those of the training.

    Raises:
        UsageError: ``split`` is ``test``.
    """
    if split == "test":
        raise UsageError(f"{what} has no 'test' split\ngive the test images apart")


def class_of(names: Sequence[str], prefix: str, what: str) -> list[str]:
    """The class of each name: the first folder below ``prefix``.

    Raises:
        DataError: an image lies outside the class folders, or there are fewer than two classes.
    """
    below = [name.removeprefix(prefix) for name in names]
    loose = [name for name in below if "/" not in name]
    if loose:
        raise DataError(
            f"{what} has images outside class folders: {', '.join(loose[:5])}{' …' if len(loose) > 5 else ''}\n"
            "labels are read from folders: cats/1.jpg, dogs/2.jpg, ...; or use a CSV with columns path and label"
        )
    classes = [name.partition("/")[0] for name in below]
    if len(set(classes)) < 2:
        raise DataError(f"{what} has one class, {classes[0]!r}\nevaluation needs at least two class folders")
    return classes


def require_images(
    found: Sequence[str], others: Iterable[str], what: str, *, links: int = 0, unlisted: Sequence[str] = ()
) -> None:
    """Raise if there are no images, and say what was found instead.

    Args:
        found: the names of the images.
        others: the names of all files.
        what: a few words about what was searched.
        links: the number of links that were skipped.
        unlisted: sentences about folders that could not be listed.

    Raises:
        DataError: ``found`` is empty.
    """
    if found:
        return
    others = list(others)
    seen = Counter(os.path.splitext(name)[1].lower() or "(none)" for name in others)
    text = ", ".join(f"{extension} {count}" for extension, count in seen.most_common(8)) or "no files at all"
    if links:
        raise DataError(
            f"no images in {what}: {text}, and {links} links, which are not followed\n"
            "copy the files they lead to, or list their paths in a .txt file and give that file"
        )
    if unlisted:
        raise DataError(f"no images in {what}: {text}\n{unlisted[0]}\ngive this user the right to read it")
    if 2 * sum(kind_of(name) is not None for name in others) > len(others):
        raise DataError(f"no images in {what}: {text}\nthese look like text: use --method bert or gpt")
    raise DataError(f"no images in {what}: {text}\nallowed: {', '.join(sorted(IMAGE_EXTENSIONS))}")
