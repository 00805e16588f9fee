"""Images with their classes for an evaluation: from data to train and test images, and to batches of them."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from selfstudy.errors import DataError, UsageError
from selfstudy.images.decode import BadInput
from selfstudy.images.embedder import read_batches
from selfstudy.images.opening import open_source
from selfstudy.images.scan import Scan, scan
from selfstudy.images.sources import Source
from selfstudy.probes.split import require_same_classes, sample, split_test_fifth

_BATCH = 256
Extract = Callable[[Sequence[Tensor]], Tensor]
"""A function from n decoded images (C, H, W) to their features (n, D)."""


class Labelled(NamedTuple):
    """Scanned images with their classes.

    Attributes:
        source: the images.
        scan: the usable ones, N of them.
        labels: (N,) int64 positions in ``classes``; -1 for a class that is not in it.
        classes: the names of the classes.
    """

    source: Source
    scan: Scan
    labels: Tensor
    classes: list[str]


def open_labelled(
    data: object, test: object, channels: int, column: str | None = None
) -> tuple[Labelled, Labelled, str]:
    """The train and test images, and a few words on how they were split.

    Args:
        data: the images to learn from, or to split.
        test: the images to test on; None for the test part of ``data``, or for a fifth of each class.
        channels: the number of channels that images must have.
        column: the column of the labels in a table, if the user named one.

    Raises:
        DataError: there are no labels, the classes of train and test differ, or too many images cannot be used.
    """
    test_source = _test_split(data if test is None else test)
    if test is None and test_source is None:
        return _split(_labelled(data, None, channels, column))
    train_set = _labelled(data, "train" if test is None else None, channels, column)
    test_set = _labelled(test, None, channels, column) if test_source is None else _scan_labels(test_source, channels)
    how = "the data's own test split" if test is None else "test images given apart"
    require_same_classes(train_set.classes, test_set.classes)
    return train_set, _numbered_like(train_set, test_set), how


def train_part(data: object, channels: int) -> Labelled:
    """The images that an evaluation on ``data`` learns from, read when they are used; test images are left alone.

    Args:
        data: labelled images.
        channels: the number of channels that images must have.

    Raises:
        UsageError: the data does not exist.
        DataError: there are no labels, or too many images cannot be used.
    """
    apart = _test_split(data) is not None
    whole = _scan_labels(open_source(data, labels=True, split="train" if apart else None), channels, memory_bytes=0)
    return whole if apart else _split(whole)[0]


def _numbered_like(train: Labelled, test: Labelled) -> Labelled:
    """The test images with the class numbers of train, since folders sort classes as text and arrays count them."""
    if test.classes == train.classes:
        return test
    numbers = torch.tensor([*(train.classes.index(name) for name in test.classes), -1])  # the last for no class
    return test._replace(labels=numbers[test.labels.clamp(min=-1)], classes=train.classes)


def _test_split(data: object) -> Source | None:
    """The test part of data; None if the data has no parts."""
    try:
        return open_source(data, labels=True, split="test")
    except UsageError:
        return None


def _labelled(data: object, split: str | None, channels: int, column: str | None) -> Labelled:
    return _scan_labels(open_source(data, labels=True, split=split, label_column=column), channels)


def _scan_labels(source: Source, channels: int, *, memory_bytes: int | None = None) -> Labelled:
    if source.labels is None or source.class_names is None:
        raise DataError(f"{source.describe()} has no labels\nuse class sub-folders, or a list with a label column")
    found = scan(source, channels=channels, memory_bytes=memory_bytes)
    return Labelled(source, found, torch.from_numpy(source.labels[found.good]).long(), source.class_names)


def _split(whole: Labelled) -> tuple[Labelled, Labelled, str]:
    """Train and test images, where the test part is a fifth of each class."""
    train, test = (_subset(whole, positions.numpy()) for positions in split_test_fifth(whole.labels))
    return train, test, "a fifth of each class is for the test"


def sampled(whole: Labelled, most: int) -> Labelled:
    """At most ``most`` of the images."""
    return whole if len(whole.labels) <= most else _subset(whole, sample(whole.labels, most).numpy())


def _subset(whole: Labelled, positions: np.ndarray) -> Labelled:
    return whole._replace(scan=whole.scan.subset(positions), labels=whole.labels[torch.from_numpy(positions)])


def features_of(extract: Extract, part: Labelled) -> tuple[Tensor, Tensor]:
    """The features (N, D) and labels (N,) of all images that can be read."""
    features, positions = [], []
    for kept, images in batches_of(part):
        features.append(extract(images))
        positions += kept
    return torch.cat(features), part.labels[torch.tensor(positions)]


def batches_of(part: Labelled) -> Iterator[tuple[list[int], Sequence[Tensor]]]:
    """The positions and decoded images in batches, from memory if the scan kept them."""
    if part.scan.images is not None:
        for start in range(0, len(part.labels), _BATCH):
            positions = list(range(start, min(start + _BATCH, len(part.labels))))
            yield positions, [part.scan.images[i] for i in positions]
        return
    position_of = {int(index): position for position, index in enumerate(part.scan.good)}
    for kept, images, _ in read_batches(part.source, position_of, part.scan.channels):
        if kept:
            yield [position_of[index] for index in kept], images


def digest(part: Labelled) -> str | None:
    """A digest of all images and labels; None if only a function of the user knows the images.

    Images that are not in memory are read once; this takes far less time than to decode them.
    """
    found = hashlib.blake2b(part.labels.numpy().tobytes())
    for position, number in enumerate(part.scan.good.tolist()):
        if part.scan.images is not None:
            image = part.scan.images[position].contiguous()
            found.update(repr((image.shape, image.dtype)).encode())
            found.update(image.numpy().data)
            continue
        try:
            encoded = part.source.encoded(number)
        except BadInput:
            encoded = b""
        if encoded is None:
            return None
        found.update(encoded)
    return found.hexdigest()
