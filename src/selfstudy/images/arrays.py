"""Images that are arrays already: .npy and .npz files, arrays, tensors, datasets."""

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

_CHANNEL_LIMIT = 64  # a last axis up to this is taken for channels


class ArrayImages:
    """Images of one tensor (N, C, H, W)."""

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
        """Nothing: there is no file."""
        return None

    def read(self, index: int) -> Tensor:
        """The image (C, H, W)."""
        return self.images[index]

    def describe(self) -> str:
        """What this is."""
        return self._what

    def fingerprint(self) -> str:
        """SHA-256 of the pixels."""
        return hashlib.sha256(self.images.contiguous().numpy().tobytes()).hexdigest()


class DatasetImages:
    """Images of a ``torch.utils.data.Dataset`` whose items are an image or (image, label, ...)."""

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
        """Nothing: the dataset decides what is behind an item."""
        return None

    def read(self, index: int) -> Tensor:
        """The image of an item; raises BadInput when the dataset fails or gives no image."""
        try:
            item = self._dataset[index]
        except Exception as error:  # whatever the user's dataset raises, this item cannot be read
            raise BadInput(f"the dataset raised {type(error).__name__}: {error}") from None
        return to_image(item[0] if isinstance(item, tuple | list) else item)

    def describe(self) -> str:
        """What this is."""
        return f"dataset {type(self._dataset).__name__}"

    def fingerprint(self) -> str:
        """SHA-256 of the type and length: the content is the dataset's own business."""
        return hashlib.sha256(f"{type(self._dataset).__qualname__} {len(self)}".encode()).hexdigest()


def _label_of(item: Any, index: int) -> Any:
    if not isinstance(item, tuple | list) or len(item) < 2:
        raise DataError(f"item {index} of the dataset is no (image, label) pair\nlabels are needed to evaluate")
    return item[1].item() if isinstance(item[1], Tensor) and item[1].ndim == 0 else item[1]


def _class_numbers(labels: Any, what: str) -> np.ndarray:
    """Labels (N,) as int64, refused where that would change them."""
    array = np.asarray(labels)
    if array.ndim != 1:
        raise DataError(f"{what} has labels of shape {array.shape}\none class number for each image is needed: (N,)")
    wrong = [] if array.dtype.kind in "iub" else [value for value in array if not _is_whole(value)]
    if wrong:
        raise DataError(
            f"{what} has labels such as {wrong[0]!s} ({array.dtype})\n"
            "class numbers are needed: 0, 1, 2, ...; np.unique(labels, return_inverse=True)[1] makes them of names"
        )
    return array.astype(np.int64)


def _is_whole(value: Any) -> bool:
    return isinstance(value, float | np.floating) and float(value).is_integer()


def to_image(value: Any) -> Tensor:
    """One image (C, H, W), uint8, or float32 in [0, 1], from a PIL image, array (H, W[, C]) or tensor ([C, ]H, W).

    Raises:
        BadInput: another type, shape or range.
    """
    if isinstance(value, Image.Image):
        return decode_image(value)
    if not isinstance(value, np.ndarray | Tensor):
        raise BadInput(f"a {type(value).__name__} is no image; give a path, PIL image, array or tensor")
    if value.ndim not in (2, 3):
        raise BadInput(
            f"shape {tuple(value.shape)} is no image; an array is (H, W) or (H, W, C), a tensor (C, H, W) or (H, W)"
        )
    tensor = value.detach().cpu() if isinstance(value, Tensor) else torch.from_numpy(_supported(value))
    if tensor.ndim == 2:
        return _checked(tensor[None])  # (1, H, W)
    return _checked(tensor if isinstance(value, Tensor) else tensor.movedim(-1, 0))  # (C, H, W)


def _supported(array: np.ndarray) -> np.ndarray:
    """The array with 16 bits scaled to float, since torch has few unsigned types."""
    if array.dtype == np.uint16:
        return (array / 65535).astype(np.float32)
    return np.ascontiguousarray(array)


def _checked(images: Tensor) -> Tensor:
    """Images (..., C, H, W) with a dtype and range that mean something."""
    if images.ndim < 3 or 0 in images.shape:
        raise BadInput(f"shape {tuple(images.shape)} is no image (C, H, W)")
    if images.dtype == torch.uint8:
        return images.contiguous()
    if not images.is_floating_point():
        raise BadInput(f"dtype {images.dtype} is not supported; give uint8, uint16, or float in [0, 1]")
    images = images.to(torch.float32).contiguous()
    low, high = float(images.min()), float(images.max())
    if not (0 <= low and high <= 1):
        raise BadInput(f"float values from {low:g} to {high:g}; only [0, 1] is unambiguous")
    return images


def open_object(data: Any, *, labels: bool) -> ArrayImages | DatasetImages:
    """A source from an array (N, H, W[, C]), a tensor (N, C, H, W), a pair (images, labels), or a ``Dataset``.

    Raises:
        UsageError: something else.
        DataError: labels asked for and not there.
    """
    images, given = data if isinstance(data, tuple) and len(data) == 2 else (data, None)
    if isinstance(images, Dataset):
        return DatasetImages(images, labels=labels)
    if not isinstance(images, np.ndarray | Tensor):
        raise UsageError(
            f"{type(data).__name__} is no data that can be opened\n"
            "give a path, an array, a tensor, a pair (images, labels), or a torch Dataset"
        )
    return _array_source(images, given, labels=labels, what=f"{type(images).__name__} {tuple(images.shape)}")


def _array_source(images: Any, given: Any, *, labels: bool, what: str, names: list[str] | None = None) -> ArrayImages:
    """Images (N, H, W), (N, H, W, C) or, for tensors, (N, C, H, W), with labels if there are any."""
    if isinstance(images, np.ndarray):
        tensor = torch.from_numpy(_supported(images))
        tensor = tensor[:, None] if tensor.ndim == 3 else tensor
        if tensor.ndim == 4 and images.ndim == 4 and images.shape[-1] <= _CHANNEL_LIMIT:
            tensor = tensor.permute(0, 3, 1, 2)
    else:
        tensor = images[:, None] if images.ndim == 3 else images
    if tensor.ndim != 4:
        raise DataError(f"{what}: shape {tuple(tensor.shape)} is no stack of images (N, H, W), (N, H, W, C)")
    if labels and given is None:
        raise DataError(f"{what} has no labels\ngive a pair (images, labels), or an .npz with both")
    numbers = _class_numbers(given, what) if labels else None
    if numbers is not None and len(numbers) != len(tensor):
        raise DataError(f"{what}: {len(tensor)} images and {len(numbers)} labels")
    return ArrayImages(_checked(tensor), numbers, names=names, what=what)


def open_array_file(path: Path, *, labels: bool, split: str | None) -> ArrayImages:
    """A ``.npy`` of images, or an ``.npz`` with ``images`` and, to evaluate, ``labels``.

    An ``.npz`` with two splits names them ``train_images``, ``train_labels``, ``test_images``, ``test_labels``.

    Raises:
        UsageError: a split that is not there.
        DataError: pickled objects, missing arrays, shapes that are no images.
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
    """The wanted split of an open ``.npz``."""
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
