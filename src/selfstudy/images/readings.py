"""Labelled images for k-NN readings during training: a small part of train, prepared once."""

from collections.abc import Iterator
from contextlib import suppress
from functools import partial

import torch
from torch import Tensor, nn

from selfstudy.images.decode import BadInput
from selfstudy.images.embedder import embed_batches
from selfstudy.images.features import raw_pixels, raw_pixels_name
from selfstudy.images.labelled import Labelled, train_part
from selfstudy.nn.statistics import statistics_of
from selfstudy.ops.devices import to_device
from selfstudy.ops.pixels import as_float
from selfstudy.ops.random import permutation
from selfstudy.probes.evaluation import Subject
from selfstudy.probes.features import DenseFeatures, Features
from selfstudy.probes.split import small_bank
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
    labelled = train_part(data, preprocessing.channels)
    height, width = preprocessing.size
    at_most = max(_LEAST, min(_MOST, _MEMORY // (preprocessing.channels * height * width)))
    parts = [_prepared(labelled, part, (height, width)) for part in small_bank(labelled.labels, at_most)]
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


def _prepared(labelled: Labelled, positions: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """The images at some positions, (n, C, h, w) in their own dtype, and labels (n,); unreadable ones are left out."""
    images, kept = [], []
    for position in positions.tolist():
        with suppress(BadInput):
            images.append(fit(labelled.scan.image(labelled.source, position), size))
            kept.append(position)
    if len({image.dtype for image in images}) > 1:
        images = [as_float(image) for image in images]
    return torch.stack(images), labelled.labels[kept]


def _embedded(encoder: nn.Module, images: Tensor, preprocessing: Preprocessing) -> Tensor:
    """The embeddings (n, D) float32 of prepared images, on the CPU."""
    device = next(encoder.parameters()).device
    return torch.cat([*embed_batches(encoder, _batches(encoder, images, preprocessing), device=device)])


def _batches(encoder: nn.Module, images: Tensor, preprocessing: Preprocessing) -> Iterator[Tensor]:
    """Prepared images in even batches (B, C, h, w) float32 on the device of the encoder, normalised."""
    device = next(encoder.parameters()).device
    for batch in images.chunk(-(-len(images) // _BATCH)):
        yield normalize(as_float(to_device(batch, device)), preprocessing.mean, preprocessing.std)
