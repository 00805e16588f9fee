"""Evaluates a run: the same probes on raw pixels, on the untrained encoder and on the pretrained one."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

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
from selfstudy.ops.pixels import as_float
from selfstudy.ops.random import initial_seed
from selfstudy.probes.finetune import RECIPE, Batch, Task, finetuned, order_of
from selfstudy.probes.labels import check_labels
from selfstudy.probes.results import Results, Score
from selfstudy.probes.split import hold_out, require_same_classes
from selfstudy.probes.table import FINETUNE, evaluate_features
from selfstudy.runs.folder import RunFolder
from selfstudy.runs.records import trained_in_half
from selfstudy.views.geometry import fit
from selfstudy.views.spec import Labels, View

_BATCH = 256
_CROP = (0.5, 1.0)  # share of the image's area that is left of it when an encoder is fine-tuned


class Labelled(NamedTuple):
    """Scanned images with their classes."""

    source: Source
    scan: Scan
    labels: Tensor
    classes: list[str]


def evaluate_image_run(
    folder: RunFolder,
    data: Any,
    *,
    test: Any,
    probes: tuple[str, ...],
    console: Console,
    label_column: str | None = None,
    known: Sequence[Score] = (),
) -> Results:
    """All scores of a run; the test images are touched once, by the final encoder.

    Scores that are ``known`` of raw pixels, or of the untrained encoder of the same seed, are not measured again.
    """
    embedder = Embedder.load(folder.path)
    train_set, test_set, split = _open(data, test, embedder.preprocessing.channels, label_column)
    console.print(
        f"evaluate {len(train_set.labels):,} train, {len(test_set.labels):,} test images; {split}", highlight=False
    )
    preprocessing = embedder.preprocessing

    def pixels(images: Sequence[Tensor]) -> Tensor:
        return raw_pixels(torch.stack([as_float(fit(image, preprocessing.size)) for image in images]))

    before = "timm's weights" if embedder.description["pretrained"] else "untrained encoder"
    untrained = _untrained(embedder)
    extractors = [
        (raw_pixels_name((preprocessing.channels, *preprocessing.size)), pixels, None),
        (before, untrained.of_images, untrained),
        ("pretrained encoder", embedder.of_images, embedder),
    ]
    frozen = [probe for probe in probes if probe != FINETUNE]
    half = trained_in_half(folder, embedder.device)
    scores: list[Score] = []
    for name, extract, tunable in extractors:
        if found := [score for score in known if score.features == name and score.probe in probes]:
            scores += found
            continue
        if frozen:
            console.print(f"         {name}", highlight=False)
            train, test_part = (_features(extract, part) for part in (train_set, test_set))
            scores += evaluate_features(name, *train, *test_part, probes=frozen)
        if FINETUNE in probes and tunable is not None:
            task, n_test = _task(tunable, train_set, test_set), len(test_set.labels)
            scores.append(finetuned(name, tunable.encoder, task, n_test=n_test, half=half, console=console))
    return Results(scores)


def _task(embedder: Embedder, train: Labelled, test: Labelled) -> Task:
    """Images and classes to fine-tune an encoder on; test images are prepared as they are to be embedded."""
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

    how = f"random crop of {100 * _CROP[0]:g} to 100 % of the area, flip"
    classes = len(train.classes)
    return Task(RECIPE, order, of_train, of_test(), classes, lambda encoder, images: encoder(images), how)


def _features(extract: Callable[[Sequence[Tensor]], Tensor], part: Labelled) -> tuple[Tensor, Tensor]:
    """Features (N, D) and labels (N,) of every image that can be read."""
    features, positions = [], []
    for kept, images in _batches(part):
        features.append(extract(images))
        positions += kept
    return torch.cat(features), part.labels[torch.tensor(positions)]


def _batches(part: Labelled) -> Iterator[tuple[list[int], Sequence[Tensor]]]:
    """Positions and decoded images, some at a time, from memory when the scan kept them."""
    if part.scan.images is not None:
        for start in range(0, len(part.labels), _BATCH):
            positions = list(range(start, min(start + _BATCH, len(part.labels))))
            yield positions, [part.scan.images[i] for i in positions]
        return
    position_of = {int(index): position for position, index in enumerate(part.scan.good)}
    for kept, images, _ in read_batches(part.source, position_of, part.scan.channels):
        if kept:
            yield [position_of[index] for index in kept], images


def _untrained(embedder: Embedder) -> Embedder:
    """The same encoder as it was before the first step: with timm's weights, if it began with those."""
    torch.manual_seed(initial_seed(embedder.description["seed"]))
    return Embedder(build_encoder(spec_of(embedder.description)), embedder.preprocessing, embedder.description)


def _open(data: Any, test: Any, channels: int, column: str | None = None) -> tuple[Labelled, Labelled, str]:
    """Train and test images, and a sentence on how they were split."""
    if test is not None:
        train_set, test_set = (_labelled(part, None, channels, column) for part in (data, test))
        how = "test images given apart"
    else:
        test_source = _test_split(data)
        if test_source is None:
            return _hold_out(_labelled(data, None, channels, column))
        train_set, test_set = _labelled(data, "train", channels, column), _scan_labels(test_source, channels)
        how = "the data's own test split"
    require_same_classes(train_set.classes, test_set.classes)
    return train_set, _numbered_like(train_set, test_set), how


def _numbered_like(train: Labelled, test: Labelled) -> Labelled:
    """The test images with the class numbers of train: folders sort classes as text, arrays count them."""
    if test.classes == train.classes:
        return test
    numbers = torch.tensor([*(train.classes.index(name) for name in test.classes), -1])  # the last for no class
    return test._replace(labels=numbers[test.labels.clamp(min=-1)], classes=train.classes)


def _test_split(data: Any) -> Source | None:
    try:
        return open_source(data, labels=True, split="test")
    except UsageError:
        return None


def _labelled(data: Any, split: str | None, channels: int, column: str | None) -> Labelled:
    return _scan_labels(open_source(data, labels=True, split=split, label_column=column), channels)


def _scan_labels(source: Source, channels: int) -> Labelled:
    if source.labels is None or source.class_names is None:
        raise DataError(f"{source.describe()} has no labels\nuse class sub-folders, or a list with a label column")
    found = scan(source, channels=channels)
    return Labelled(source, found, torch.from_numpy(source.labels[found.good]).long(), source.class_names)


def _hold_out(whole: Labelled) -> tuple[Labelled, Labelled, str]:
    """A fifth of every class becomes the test part."""
    train, test = (_subset(whole, positions.numpy()) for positions in hold_out(whole.labels))
    return train, test, "a fifth of each class held out"


def _subset(whole: Labelled, positions: np.ndarray) -> Labelled:
    return whole._replace(scan=whole.scan.subset(positions), labels=whole.labels[torch.from_numpy(positions)])
