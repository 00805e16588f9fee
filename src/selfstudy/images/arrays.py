"""Images that are already decoded: .npy and .npz files, arrays, tensors, datasets."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from selfstudy.errors import DataError, UsageError
from selfstudy.images.decode import BadInput, decode_image
from selfstudy.images.sources import Format

_CHANNEL_LIMIT = 64  # a last axis of at most this length is the channels


class ArrayImages:
    """The images in one tensor (N, C, H, W)."""

    def __init__(self, images: Tensor, labels: np.ndarray | None, *, names: list[str] | None, what: str) -> None:
        self.images, self._what = images, what
        self.warnings: list[str] = []
        width = len(str(max(len(images) - 1, 0)))
        self.ids = [f"{number:0{width}d}" for number in range(len(images))]
        self.paths = [""] * len(images)
        self.labels = labels
        self.class_names = names if labels is not None else None
        if labels is not None and names is None:
            self.class_names = [str(value) for value in range(int(labels.max()) + 1)]

    def __len__(self) -> int:
        """Number of images."""
        return len(self.images)

    def encoded(self, index: int) -> None:
        """None: there is no encoded file."""
        return None

    def read(self, index: int) -> Tensor:
        """Image ``index`` (C, H, W)."""
        return self.images[index]

    def describe(self) -> str:
        """A few words about the source."""
        return self._what

    def fingerprint(self) -> str:
        """The SHA-256 of all pixels."""
        return hashlib.sha256(self.images.contiguous().numpy().tobytes()).hexdigest()


class DatasetImages:
    """The images of a ``torch.utils.data.Dataset`` whose items are images or tuples (image, label, ...)."""

    def __init__(self, dataset: Any, *, labels: bool) -> None:
        self._dataset = dataset
        self.warnings: list[str] = []
        width = len(str(max(len(dataset) - 1, 0)))
        self.ids = [f"{number:0{width}d}" for number in range(len(dataset))]
        self.paths = [""] * len(dataset)
        self.labels: np.ndarray | None = None
        self.class_names: list[str] | None = None
        if labels:
            self.labels = _class_numbers([_label_of(dataset[i], i) for i in range(len(dataset))], self.describe())
            self.class_names = [str(value) for value in range(int(self.labels.max()) + 1)]

    def __len__(self) -> int:
        """Number of items."""
        return len(self._dataset)

    def encoded(self, index: int) -> None:
        """None: only the dataset knows whether there is a file."""
        return None

    def read(self, index: int) -> Tensor:
        """The image (C, H, W) of item ``index``.

        Raises:
            BadInput: the dataset fails, or the item is not an image.
        """
        try:
            item = self._dataset[index]
        except Exception as error:  # the user's dataset may raise anything; each means that the item cannot be read
            raise BadInput(f"the dataset raised {type(error).__name__}: {error}") from None
        return to_image(item[0] if isinstance(item, tuple | list) else item)

    def describe(self) -> str:
        """A few words about the source."""
        return f"dataset {type(self._dataset).__name__}"

    def fingerprint(self) -> str:
        """The SHA-256 of type and length; the content is not read."""
        return hashlib.sha256(f"{type(self._dataset).__qualname__} {len(self)}".encode()).hexdigest()


def _label_of(item: object, index: int) -> object:
    if not isinstance(item, tuple | list) or len(item) < 2:
        raise DataError(f"item {index} of the dataset is not a pair (image, label)\nlabels are needed to evaluate")
    return item[1].item() if isinstance(item[1], Tensor) and item[1].ndim == 0 else item[1]


def _class_numbers(labels: object, what: str) -> np.ndarray:
    """Labels as class numbers (N,) int64.

    Raises:
        DataError: the shape is not (N,), or a label is not a whole number.
    """
    array = np.asarray(labels)
    if array.ndim != 1:
        raise DataError(f"{what} has labels of shape {array.shape}\none class number for each image is needed: (N,)")
    wrong = [] if array.dtype.kind in "iub" else [value for value in array if not _is_whole(value)]
    if wrong:
        raise DataError(
            f"{what} has labels such as {wrong[0]!s} ({array.dtype})\n"
            "class numbers are needed: 0, 1, 2, ...; np.unique(labels, return_inverse=True)[1] turns names into numbers"
        )
    return array.astype(np.int64)


def _is_whole(value: object) -> bool:
    return isinstance(value, float | np.floating) and float(value).is_integer()


def to_image(value: object) -> Tensor:
    """One image (C, H, W), uint8, or float32 in [0, 1].

    Args:
        value: a PIL image, an array (H, W[, C]) or a tensor ([C, ]H, W).

    Raises:
        BadInput: the type, shape, dtype or range is another one.
    """
    if isinstance(value, Image.Image):
        return decode_image(value)
    if not isinstance(value, np.ndarray | Tensor):
        raise BadInput(f"a {type(value).__name__} is not an image; give a path, PIL image, array or tensor")
    if value.ndim not in (2, 3):
        raise BadInput(
            f"shape {tuple(value.shape)} is not an image; an array is (H, W) or (H, W, C), a tensor (C, H, W) or (H, W)"
        )
    tensor = value.detach().cpu() if isinstance(value, Tensor) else torch.from_numpy(_supported(value))
    if tensor.ndim == 2:
        return _checked(tensor[None])  # (1, H, W)
    return _checked(tensor if isinstance(value, Tensor) else tensor.movedim(-1, 0))  # (C, H, W)


def _supported(array: np.ndarray) -> np.ndarray:
    """The array in a dtype that torch computes with: 16-bit values become float32 in [0, 1]."""
    if array.dtype == np.uint16:
        return (array / 65535).astype(np.float32)
    return np.ascontiguousarray(array)


def _checked(images: Tensor) -> Tensor:
    """The images (..., C, H, W), uint8, or float32 in [0, 1].

    Raises:
        BadInput: the shape, dtype or range is another one.
    """
    if images.ndim < 3 or 0 in images.shape:
        raise BadInput(f"shape {tuple(images.shape)} is not an image (C, H, W)")
    if images.dtype == torch.uint8:
        return images.contiguous()
    if not images.is_floating_point():
        raise BadInput(f"dtype {images.dtype} is not supported; give uint8, uint16, or float in [0, 1]")
    images = images.to(torch.float32).contiguous()
    low, high = float(images.min()), float(images.max())
    if not (0 <= low and high <= 1):
        raise BadInput(f"float values from {low:g} to {high:g}; only [0, 1] is unambiguous")
    return images


def open_object(data: object, *, labels: bool) -> ArrayImages | DatasetImages:
    """The images of an array (N, H, W[, C]), a tensor (N, C, H, W), a pair (images, labels) or a ``Dataset``.

    Raises:
        UsageError: ``data`` is something else.
        DataError: labels are asked for and there are none, or the shapes do not fit.
    """
    images, given = data if isinstance(data, tuple) and len(data) == 2 else (data, None)
    if isinstance(images, Dataset):
        return DatasetImages(images, labels=labels)
    if not isinstance(images, np.ndarray | Tensor):
        raise UsageError(
            f"{type(data).__name__} is not a kind of data that can be opened\n"
            "give a path, an array, a tensor, a pair (images, labels), or a torch Dataset"
        )
    return _array_source(images, given, labels=labels, what=f"{type(images).__name__} {tuple(images.shape)}")


def _array_source(
    images: np.ndarray | Tensor, given: object, *, labels: bool, what: str, names: list[str] | None = None
) -> ArrayImages:
    """The source of images (N, H, W), (N, H, W, C) or, for tensors, (N, C, H, W), with labels if asked for."""
    if isinstance(images, np.ndarray):
        tensor = torch.from_numpy(_supported(images))
        tensor = tensor[:, None] if tensor.ndim == 3 else tensor
        if tensor.ndim == 4 and images.ndim == 4 and images.shape[-1] <= _CHANNEL_LIMIT:
            tensor = tensor.permute(0, 3, 1, 2)
    else:
        tensor = images[:, None] if images.ndim == 3 else images
    if tensor.ndim != 4:
        raise DataError(f"{what}: shape {tuple(tensor.shape)} is not a stack of images (N, H, W), (N, H, W, C)")
    if labels and given is None:
        raise DataError(f"{what} has no labels\ngive a pair (images, labels), or an .npz with both")
    numbers = _class_numbers(given, what) if labels else None
    if numbers is not None and len(numbers) != len(tensor):
        raise DataError(f"{what}: {len(tensor)} images and {len(numbers)} labels")
    return ArrayImages(_checked(tensor), numbers, names=names, what=what)


def open_array_file(path: Path, *, labels: bool, split: str | None) -> ArrayImages:
    """The images in a ``.npy`` file, or in an ``.npz`` file with arrays ``images`` and, for evaluation, ``labels``.

    An ``.npz`` file with two splits has ``train_images``, ``train_labels``, ``test_images`` and ``test_labels``.

    Raises:
        UsageError: the file does not have the split.
        DataError: the file is damaged or holds pickled objects, an array is missing, or shapes are not those of images.
    """
    try:
        loaded = np.load(path, allow_pickle=False)
        if path.suffix.lower() == ".npy":
            return _array_source(loaded, None, labels=labels, what=f"array file {path}")
        with loaded:
            return from_npz(loaded, what=f"array file {path}", labels=labels, split=split)
    except (ValueError, OSError, EOFError) as error:
        raise DataError(f"array file {path} cannot be read: {error}") from None


def from_npz(loaded: Any, *, what: str, labels: bool, split: str | None) -> ArrayImages:
    """The images of one split of an open ``.npz`` file.

    Args:
        loaded: the arrays by name.
        what: a few words about the source.
        labels: True if labels are needed.
        split: ``train``, ``test`` or None, as for :func:`selfstudy.images.opening.open_source`.

    Raises:
        UsageError: the file does not have the split.
        DataError: an array is missing, or shapes are not those of images.
    """
    has_splits = "train_images" in loaded
    if split == "test" and not has_splits:
        raise UsageError(f"{what} has no 'test' split\nit would hold arrays test_images and test_labels")
    prefix = f"{split or 'train'}_" if has_splits else ""
    image_key = f"{prefix}images"
    if image_key not in loaded:
        raise DataError(f"{what} holds {', '.join(loaded)}; an array named {image_key} is needed")
    given = loaded[f"{prefix}labels"] if f"{prefix}labels" in loaded else None
    names = [str(name) for name in loaded["class_names"]] if "class_names" in loaded else None
    return _array_source(
        loaded[image_key],
        given,
        labels=labels,
        what=f"{what}, {split or 'train'} part" if prefix else what,
        names=names,
    )


FORMATS = (Format(open_array_file, suffixes=(".npz", ".npy")),)
