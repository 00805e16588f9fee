"""Opens labelled images for an evaluation: raw pixels, the untrained encoder and the pretrained one."""

from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from typing import NamedTuple

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from selfstudy.encoders.timm import build_encoder, spec_of
from selfstudy.errors import DataError, UsageError
from selfstudy.images.batches import TrainingData, render
from selfstudy.images.embedder import Embedder, read_batches
from selfstudy.images.features import raw_pixels, raw_pixels_name
from selfstudy.images.opening import open_source
from selfstudy.images.scan import Scan, scan
from selfstudy.images.sources import Source
from selfstudy.images.statistics import set_on_images
from selfstudy.nn.statistics import layers_with_statistics
from selfstudy.ops.pixels import as_float
from selfstudy.ops.random import initial_seed
from selfstudy.probes.evaluation import Evaluation, Question, Subject, Trial
from selfstudy.probes.features import DenseFeatures, Features
from selfstudy.probes.finetune import RECIPE, Batch, Task, order_of
from selfstudy.probes.labels import check_labels
from selfstudy.probes.results import UNTRAINED, UNTRAINED_SET
from selfstudy.probes.split import (
    MOST_TEST,
    MOST_TRAIN,
    require_same_classes,
    sample,
    sample_protocol,
    split_test_fifth,
)
from selfstudy.runs.folder import RunFolder
from selfstudy.runs.records import trained_in_half
from selfstudy.views.geometry import fit
from selfstudy.views.preprocess import Preprocessing
from selfstudy.views.spec import Labels, View

_BATCH = 256
_CROP = (0.5, 1.0)  # share of the image's area that a crop keeps in fine-tuning
_Extract = Callable[[Sequence[Tensor]], Tensor]  # from n decoded images (C, H, W) to features (n, D)


class Labelled(NamedTuple):
    """Scanned images with their classes."""

    source: Source
    scan: Scan
    labels: Tensor
    classes: list[str]


def open_evaluation(folder: RunFolder, question: Question, console: Console) -> Evaluation:
    """The evaluation of a run on labelled images.

    Args:
        folder: the run folder.
        question: the probes, the data and the columns.
        console: the console that shows the progress of fine-tuning.

    Raises:
        UsageError: images have no input for a probe, a text column is given, or a label column is given for data that
            are not a table.
        DataError: there are no labels, or the classes of train and test differ.
    """
    question.require_inputs((Features, Task), "labelled images")
    if column := question.columns.get("text_column"):
        raise UsageError(f"text column {column!r}: {folder.path} is a run on images\nleave the text column out")
    embedder = Embedder.load(folder.encoder)
    column = question.columns.get("label_column")
    train, test, split = _open(question.data, question.test, embedder.preprocessing.channels, column)
    whole = len(train.labels), len(test.labels)
    if not question.full:
        train, test = _sampled(train, MOST_TRAIN), _sampled(test, MOST_TEST)
    used = len(train.labels), len(test.labels)
    about = f"{used[0]:,} train, {used[1]:,} test images; {split}"
    half = trained_in_half(folder, embedder.device)
    subjects = _subjects(embedder, train, test, half=half, console=console)
    trial = Trial(lambda count: embedder.of_images(next(_batches(train))[1][:count]), sum(used), "images")
    return Evaluation(about, subjects, sample_protocol(*zip(used, whole, strict=True)), trial)


def _subjects(
    embedder: Embedder, train: Labelled, test: Labelled, *, half: bool, console: Console
) -> Iterator[Subject]:
    """The subjects: raw pixels, the encoder before its first step, and the trained encoder."""

    def features(name: str, extract: _Extract) -> Features:
        return DenseFeatures(name, *_features(extract, train), *_features(extract, test))

    def of_encoder(name: str, encoder: Callable[[], Embedder], *, free: bool = False) -> Subject:
        def task() -> Task:
            return _task(name, encoder(), train, test, half=half, console=console)

        return Subject(name, {Features: lambda: features(name, encoder().of_images), Task: task}, free)

    preprocessing = embedder.preprocessing
    pixels = raw_pixels_name((preprocessing.channels, *preprocessing.size))
    of_pixels = partial(_pixels, preprocessing=preprocessing)
    yield Subject(pixels, {Features: lambda: features(pixels, of_pixels)}, free=True)
    yield of_encoder(_first_name(embedder), cache(partial(_first, embedder, train, console=console)), free=True)
    yield of_encoder("pretrained encoder", lambda: embedder)


def _first_name(embedder: Embedder) -> str:
    """The name of the row of the encoder before its first step."""
    if embedder.description["pretrained"]:
        return "timm's weights"
    return UNTRAINED_SET if layers_with_statistics(embedder.encoder) else UNTRAINED


def _first(embedder: Embedder, train: Labelled, *, console: Console) -> Embedder:
    """The encoder before its first step; without weights of timm, its statistics are set on the train images."""
    first = untrained(embedder)
    if not embedder.description["pretrained"]:
        layers, images = set_on_images(
            first.encoder, first.preprocessing, source=train.source, found=train.scan, device=first.device
        )
        if layers:
            text = f"statistics of {layers} normalisation layers set on {images:,} train images"
            console.print(f"         {text}", highlight=False)
    return first


def _pixels(images: Sequence[Tensor], preprocessing: Preprocessing) -> Tensor:
    """The raw pixels (n, C * h * w) of images that are resized as for the encoder."""
    return raw_pixels(torch.stack([as_float(fit(image, preprocessing.size)) for image in images]))


def _task(name: str, embedder: Embedder, train: Labelled, test: Labelled, *, half: bool, console: Console) -> Task:
    """The fine-tuning of an encoder on images; test images are prepared as for embedding."""
    check_labels(train.labels, test.labels, train.classes)
    preprocessing, device = embedder.preprocessing, embedder.device
    embedder.encoder.to(device)
    order = order_of(len(train.labels), RECIPE)
    data = TrainingData(
        order,
        [View(preprocessing.size, scale=_CROP), Labels()],
        images=train.scan.images,
        source=train.source,
        indices=train.scan.good.tolist(),
        channels=train.scan.channels,
        labels=train.labels,
    )

    def of_train(step: int) -> Batch:
        return Batch(*render(data[step], data.specs, (preprocessing.mean, preprocessing.std), device))

    def of_test() -> Iterator[Batch]:
        for positions, images in _batches(test):
            yield Batch(preprocessing.prepare_batch(images).to(device), test.labels[positions].to(device))

    return Task(
        name,
        embedder.encoder,
        RECIPE,
        order,
        of_train,
        of_test(),
        n_test=len(test.labels),
        classes=len(train.classes),
        embed=lambda encoder, images: encoder(images),
        how=f"random crop of {100 * _CROP[0]:g} to 100 % of the area, flip",
        half=half,
        report=lambda line: console.print(f"         {name}, fine-tuned: {line}", highlight=False),
    )


def _features(extract: _Extract, part: Labelled) -> tuple[Tensor, Tensor]:
    """The features (N, D) and labels (N,) of all images that can be read."""
    features, positions = [], []
    for kept, images in _batches(part):
        features.append(extract(images))
        positions += kept
    return torch.cat(features), part.labels[torch.tensor(positions)]


def _batches(part: Labelled) -> Iterator[tuple[list[int], Sequence[Tensor]]]:
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


def untrained(embedder: Embedder) -> Embedder:
    """The same encoder before its first step: with timm's weights if the run began with them."""
    torch.manual_seed(initial_seed(embedder.description["seed"]))
    return Embedder(build_encoder(spec_of(embedder.description)), embedder.preprocessing, embedder.description)


def _open(data: object, test: object, channels: int, column: str | None = None) -> tuple[Labelled, Labelled, str]:
    """The train and test images, and a few words on how they were split."""
    test_source = _test_split(data if test is None else test)
    if test is None and test_source is None:
        return _split(_labelled(data, None, channels, column))
    train_set = _labelled(data, "train" if test is None else None, channels, column)
    test_set = _labelled(test, None, channels, column) if test_source is None else _scan_labels(test_source, channels)
    how = "the data's own test split" if test is None else "test images given apart"
    require_same_classes(train_set.classes, test_set.classes)
    return train_set, _numbered_like(train_set, test_set), how


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


def _scan_labels(source: Source, channels: int) -> Labelled:
    if source.labels is None or source.class_names is None:
        raise DataError(f"{source.describe()} has no labels\nuse class sub-folders, or a list with a label column")
    found = scan(source, channels=channels)
    return Labelled(source, found, torch.from_numpy(source.labels[found.good]).long(), source.class_names)


def _split(whole: Labelled) -> tuple[Labelled, Labelled, str]:
    """Train and test images, where the test part is a fifth of each class."""
    train, test = (_subset(whole, positions.numpy()) for positions in split_test_fifth(whole.labels))
    return train, test, "a fifth of each class is for the test"


def _sampled(whole: Labelled, most: int) -> Labelled:
    """At most ``most`` of the images."""
    return whole if len(whole.labels) <= most else _subset(whole, sample(whole.labels, most).numpy())


def _subset(whole: Labelled, positions: np.ndarray) -> Labelled:
    return whole._replace(scan=whole.scan.subset(positions), labels=whole.labels[torch.from_numpy(positions)])
