"""Named encoded images, wherever their bytes are: what folders, archives and lists have in common."""

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
    """Encoded images by number.

    Args:
        ids: unique names.
        sizes: bytes of each, -1 where unknown.
        fetch: bytes of image number i; picklable.
        label_names: the class of each, or None.
        what: for :meth:`describe`.
        paths: absolute paths, where there are files.
        warnings: what the user should know about inputs that could not even be listed.
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
        """Number of images."""
        return len(self.ids)

    def encoded(self, index: int) -> bytes:
        """The file's bytes; raises BadInput."""
        return self._fetch(index)

    def read(self, index: int) -> Tensor:
        """The decoded image (C, H, W); raises BadInput."""
        return decode(self._fetch(index))

    def describe(self) -> str:
        """What this is."""
        return self._what

    def fingerprint(self) -> str:
        """SHA-256 over ids and sizes."""
        lines = (f"{name}\0{size}\n" for name, size in zip(self.ids, self._sizes, strict=True))
        return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def choose_split(names: Iterable[str], split: str | None, what: str) -> tuple[list[str], str]:
    """The names (relative, with /) of the wanted split, and the prefix they share (``"train/"`` or ``""``).

    Without a wanted split, data that has both parts gives its train part; where there is no train part, there is no
    test part either.

    Raises:
        UsageError: a split is asked for that the data does not have.
    """
    names = list(names)
    tops = {name.partition("/")[0] for name in names if "/" in name}
    train, test = part_named(TRAIN_NAMES, tops), part_named(TEST_NAMES, tops)
    # a folder named "valid" or "test" without a train part beside it may well be a class
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
    """The class of each name: its first folder below ``prefix``.

    Raises:
        DataError: loose images, or fewer than two classes.
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
        raise DataError(f"{what} has one class, {classes[0]!r}\nat least two class folders are needed to evaluate")
    return classes


def require_images(
    found: Sequence[str], others: Iterable[str], what: str, *, links: int = 0, unlisted: Sequence[str] = ()
) -> None:
    """Stop when there is nothing to learn from, saying what was there instead.

    Args:
        found: the images.
        others: every file.
        what: was searched.
        links: how many were passed over.
        unlisted: folders that could not be listed, each with the reason.

    Raises:
        DataError: no image among the files.
    """
    if found:
        return
    others = list(others)
    seen = Counter(os.path.splitext(name)[1].lower() or "(none)" for name in others)
    text = ", ".join(f"{extension} {count}" for extension, count in seen.most_common(8)) or "no files at all"
    if links:
        raise DataError(
            f"no images in {what}: {text}, and {links} links, which are not followed\n"
            "copy what they lead to, or list those paths in a .txt file and give that"
        )
    if unlisted:
        raise DataError(f"no images in {what}: {text}\n{unlisted[0]}\ngive this user the right to read it")
    if 2 * sum(kind_of(name) is not None for name in others) > len(others):
        raise DataError(f"no images in {what}: {text}\nthis looks like text: use --method bert or gpt")
    raise DataError(f"no images in {what}: {text}\nread are {', '.join(sorted(IMAGE_EXTENSIONS))}")
