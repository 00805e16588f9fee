"""Opens labelled images for an evaluation: the free rows, and the pretrained encoder."""

from collections import Counter
from collections.abc import Callable, Iterator

from rich.console import Console

from selfstudy.errors import UsageError
from selfstudy.images.batches import TrainingData, render
from selfstudy.images.embedder import Embedder
from selfstudy.images.free import FirstEncoder, FreePatches, RawPixels
from selfstudy.images.labelled import Extract, Labelled, batches_of, digest, features_of, open_labelled, sampled
from selfstudy.images.repeats import count_repeated
from selfstudy.probes.evaluation import Evaluation, Question, Subject, Trial
from selfstudy.probes.features import DenseFeatures, Features
from selfstudy.probes.finetune import RECIPE, Batch, Task, order_of
from selfstudy.probes.labels import check_labels
from selfstudy.probes.results import PRETRAINED
from selfstudy.probes.split import MOST_TEST, MOST_TRAIN, sample_protocol
from selfstudy.probes.verdict import Split, shift_between
from selfstudy.runs.folder import RunFolder
from selfstudy.runs.records import trained_in_half
from selfstudy.views.spec import Labels, View

_CROP = (0.5, 1.0)  # share of the image's area that a crop keeps in fine-tuning


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
    train, test, split = open_labelled(question.data, question.test, embedder.preprocessing.channels, column)
    whole = len(train.labels), len(test.labels)
    if not question.full:
        train, test = sampled(train, MOST_TRAIN), sampled(test, MOST_TEST)
    used = len(train.labels), len(test.labels)
    about = f"{used[0]:,} train, {used[1]:,} test images; {split}"
    half = trained_in_half(folder, embedder.device)
    subjects, facts = _subjects(embedder, train, test, half=half, console=console), _facts(embedder, train, test)
    trial = Trial(lambda count: embedder.of_images(next(batches_of(train))[1][:count]), sum(used), "images")
    return Evaluation(about, subjects, facts, sample_protocol(*zip(used, whole, strict=True)), trial)


def _facts(embedder: Embedder, train: Labelled, test: Labelled) -> Split:
    """The facts about labelled images on which a verdict rests."""
    of_train, of_test = (tuple(Counter(part.labels.tolist()).values()) for part in (train, test))
    copies = count_repeated((train.source, train.scan), (test.source, test.scan))
    own = None if embedder.description.get("pretrained") else (embedder.preprocessing.mean, embedder.preprocessing.std)
    shift = own and shift_between(own, (train.scan.mean, train.scan.std))
    return Split(of_train, of_test, copies, test.source.fingerprint(), shift)


def _subjects(
    embedder: Embedder, train: Labelled, test: Labelled, *, half: bool, console: Console
) -> Iterator[Subject]:
    """The subjects: raw pixels, patches, the encoder before its first step, and the trained encoder."""
    data = digest(train), digest(test)

    def key(*facts: object) -> str | None:
        return None if None in data or None in facts else repr((*facts, data))

    def inputs(name: str, extract: Extract) -> dict[type, Callable[[], object]]:
        return {Features: lambda: DenseFeatures(name, *features_of(extract, train), *features_of(extract, test))}

    def task(name: str, encoder: Embedder) -> Task:
        return _task(name, encoder, train, test, half=half, console=console)

    solved = embedder.description["name"] == FreePatches.name  # such an encoder is nothing before it is solved
    rows: list[RawPixels | FreePatches] = [RawPixels(embedder.preprocessing)]
    if not solved:
        rows.append(FreePatches(embedder.preprocessing, train.source, train.scan))
    for row in rows:
        yield Subject(row.name, inputs(row.name, row), free=True, key=key(row.name, *row.shape))
    if not solved:
        first = FirstEncoder(embedder, train.source, train.scan, console=console)
        own = inputs(first.name, first) | {Task: lambda: task(first.name, first.embedder)}
        yield Subject(first.name, own, free=True, key=key(first.name, first.key, half))
    own = inputs(PRETRAINED, embedder.of_images) | {Task: lambda: task(PRETRAINED, embedder)}
    yield Subject(PRETRAINED, own)


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
        for positions, images in batches_of(test):
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
