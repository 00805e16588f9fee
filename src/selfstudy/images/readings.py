"""Labelled images for k-NN readings during training: a small part of train, prepared once."""

from collections.abc import Iterator
from contextlib import suppress
from functools import partial

import torch
from torch import Tensor, nn

from selfstudy.errors import DataError, UsageError
from selfstudy.images.decode import BadInput
from selfstudy.images.embedder import embed_batches
from selfstudy.images.features import raw_pixels, raw_pixels_name
from selfstudy.images.opening import open_source
from selfstudy.images.scan import Scan, scan
from selfstudy.images.sources import Source
from selfstudy.nn.statistics import statistics_of
from selfstudy.ops.devices import to_device
from selfstudy.ops.pixels import as_float
from selfstudy.ops.random import permutation
from selfstudy.probes.evaluation import Subject
from selfstudy.probes.features import DenseFeatures, Features
from selfstudy.probes.split import small_bank, split_test_fifth
from selfstudy.train.readings import EvalSet
from selfstudy.views.augment import normalize
from selfstudy.views.geometry import fit
from selfstudy.views.preprocess import Preprocessing

_MOST, _LEAST = 2_500, 250  # images
_MEMORY = 2**27  # bytes of 8-bit pixels
_BATCH, _FOR_STATISTICS = 256, 512


def open_eval_set(data: object, preprocessing: Preprocessing) -> EvalSet:
    """Images of the train part of labelled data: 2,000 in the bank and 500 that are asked, fewer if they are large.

    Args:
        data: labelled images, as for an evaluation, whose test images are left alone.
        preprocessing: the input that the encoder of the run expects.

    Raises:
        UsageError: the data does not exist.
        DataError: there are no labels, or fewer than two classes of two images.
    """
    source, found, labels = _train_part(data, preprocessing.channels)
    height, width = preprocessing.size
    at_most = max(_LEAST, min(_MOST, _MEMORY // (preprocessing.channels * height * width)))
    parts = [_prepared(source, found, labels, part, (height, width)) for part in small_bank(labels, at_most)]
    (bank, classes), (queries, answers) = parts

    def of_pixels() -> Features:
        return DenseFeatures(pixels, raw_pixels(bank), classes, raw_pixels(queries), answers)

    def of_encoder(encoder: nn.Module) -> Features:
        some = bank[permutation(len(bank), 0)[:_FOR_STATISTICS]]
        with statistics_of(encoder, _batches(encoder, some, preprocessing)):  # a finished run has them too
            of_bank, of_queries = (_embedded(encoder, images, preprocessing) for images in (bank, queries))
        return DenseFeatures("encoder in training", of_bank, classes, of_queries, answers)

    pixels = raw_pixels_name((preprocessing.channels, height, width))
    return EvalSet(
        f"{len(bank):,} images of train in the bank, {len(queries):,} asked",
        [Subject(pixels, {Features: of_pixels}, free=True)],
        lambda encoder: Subject("encoder in training", {Features: partial(of_encoder, encoder)}),
    )


def _train_part(data: object, channels: int) -> tuple[Source, Scan, Tensor]:
    """The images that an evaluation on the data learns from, which are read when they are used, and their labels."""
    split = "train" if _has_test_split(data) else None
    source = open_source(data, labels=True, split=split)
    if source.labels is None:
        raise DataError(f"{source.describe()} has no labels\nuse class sub-folders, or a list with a label column")
    found = scan(source, channels=channels, memory_bytes=0)
    labels = torch.from_numpy(source.labels[found.good]).long()
    if split is not None:
        return source, found, labels
    positions, _ = split_test_fifth(labels)  # as in an evaluation
    return source, found.subset(positions.numpy()), labels[positions]


def _has_test_split(data: object) -> bool:
    try:
        return bool(len(open_source(data, labels=True, split="test")))
    except UsageError:
        return False


def _prepared(
    source: Source, found: Scan, labels: Tensor, positions: Tensor, size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """The images at some positions, (n, C, h, w) in their own dtype, and labels (n,); unreadable ones are left out."""
    images, kept = [], []
    for position in positions.tolist():
        with suppress(BadInput):
            images.append(fit(found.image(source, position), size))
            kept.append(position)
    if len({image.dtype for image in images}) > 1:
        images = [as_float(image) for image in images]
    return torch.stack(images), labels[kept]


def _embedded(encoder: nn.Module, images: Tensor, preprocessing: Preprocessing) -> Tensor:
    """The embeddings (n, D) float32 of prepared images, on the CPU."""
    device = next(encoder.parameters()).device
    return torch.cat([*embed_batches(encoder, _batches(encoder, images, preprocessing), device=device)])


def _batches(encoder: nn.Module, images: Tensor, preprocessing: Preprocessing) -> Iterator[Tensor]:
    """Prepared images in even batches (B, C, h, w) float32 on the device of the encoder, normalised."""
    device = next(encoder.parameters()).device
    for batch in images.chunk(-(-len(images) // _BATCH)):
        yield normalize(as_float(to_device(batch, device)), preprocessing.mean, preprocessing.std)
