"""Opens labelled texts for an evaluation: TF-IDF, the untrained encoder and the pretrained one."""

from collections.abc import Iterator
from functools import partial

import torch
from rich.console import Console
from torch import Tensor

from selfstudy.errors import UsageError
from selfstudy.ops.random import initial_seed
from selfstudy.probes.evaluation import Evaluation, Question, Subject, Trial
from selfstudy.probes.features import DenseFeatures, Features
from selfstudy.probes.finetune import RECIPE, Batch, Task, order_of
from selfstudy.probes.labels import check_labels
from selfstudy.probes.split import (
    MOST_TEST,
    MOST_TRAIN,
    require_same_classes,
    sample,
    sample_protocol,
    split_test_fifth,
)
from selfstudy.probes.sts import Similarities, of_embeddings
from selfstudy.runs.folder import RunFolder
from selfstudy.runs.records import trained_in_half
from selfstudy.text.bag_of_words import NAME, PAIRED, BagsOfWords, paired_cosines
from selfstudy.text.embedder import TextEmbedder, encode_rows
from selfstudy.text.labelled import LabelledTexts, Pairs, read_labelled_texts, read_pairs

_BATCH = 64


def open_evaluation(folder: RunFolder, question: Question, console: Console) -> Evaluation:
    """The evaluation of a run on labelled texts, or on scored pairs of sentences.

    Args:
        folder: the run folder.
        question: the probes, the data and the columns.
        console: the console that shows the progress of fine-tuning.

    Raises:
        UsageError: the data have no input for a probe, or do not have a given column.
        DataError: the data are damaged, or the classes of train and test differ.
    """
    embedder = TextEmbedder.load(folder.encoder)
    if any(probe.needs is Similarities for probe in question.probes):
        return _of_pairs(embedder, question)
    question.require_inputs((Features, Task), "labelled texts")
    train, test, split = _open(question)
    whole = len(train.texts), len(test.texts)
    if not question.full:
        train, test = (
            _part(part, sample(_labels(part), most)) for part, most in ((train, MOST_TRAIN), (test, MOST_TEST))
        )
    used = len(train.texts), len(test.texts)
    about = f"{used[0]:,} train, {used[1]:,} test texts; {split}"
    half = trained_in_half(folder, embedder.device)
    subjects = _subjects(embedder, train, test, half=half, console=console)
    trial = Trial(lambda count: embedder.of_texts(train.texts[:count]), sum(used), "texts")
    return Evaluation(about, subjects, sample_protocol(*zip(used, whole, strict=True)), trial)


def _subjects(
    embedder: TextEmbedder, train: LabelledTexts, test: LabelledTexts, *, half: bool, console: Console
) -> Iterator[Subject]:
    """The subjects: bags of words, the encoder before its first step, and the trained encoder."""
    labels, test_labels = _labels(train), _labels(test)

    def subject(name: str, one: TextEmbedder) -> Subject:
        def features() -> Features:
            return DenseFeatures(name, one.of_texts(train.texts), labels, one.of_texts(test.texts), test_labels)

        task = partial(_task, name, one, train, test, half=half, console=console)
        return Subject(name, {Features: features, Task: task})

    yield Subject(NAME, {Features: lambda: BagsOfWords(train.texts, labels, test.texts, test_labels)})
    yield subject("untrained encoder", untrained(embedder))
    yield subject("pretrained encoder", embedder)


def _task(
    name: str, embedder: TextEmbedder, train: LabelledTexts, test: LabelledTexts, *, half: bool, console: Console
) -> Task:
    """The fine-tuning of an encoder on texts; only the first row of each text is used."""
    rows, test_rows = (embedder.first_rows(part.texts) for part in (train, test))
    labels, test_labels = _labels(train), _labels(test)
    check_labels(labels, test_labels, train.classes)
    order = order_of(len(rows), RECIPE)

    def of_train(step: int) -> Batch:
        _, chosen = order.batch(step)
        return Batch([rows[i] for i in chosen.tolist()], labels[chosen].to(embedder.device))

    def of_test() -> Iterator[Batch]:
        for start in range(0, len(test_rows), _BATCH):
            part = slice(start, start + _BATCH)
            yield Batch(test_rows[part], test_labels[part].to(embedder.device))

    return Task(
        name,
        embedder.encoder,
        RECIPE,
        order,
        of_train,
        of_test(),
        n_test=len(test_rows),
        classes=len(train.classes),
        embed=encode_rows,
        how=f"the first {embedder.context} tokens of a text",
        half=half,
        report=lambda line: console.print(f"         {name}, fine-tuned: {line}", highlight=False),
    )


def _of_pairs(embedder: TextEmbedder, question: Question) -> Evaluation:
    """The evaluation on scored pairs of sentences, with the same subjects."""
    question.require_inputs((Similarities,), "pairs of sentences")
    if question.test is not None:
        raise UsageError(f"probe sts trains nothing, so it cannot use test {question.test!r}\ngive those pairs as data")
    if question.columns:
        raise UsageError(
            "probe sts reads columns sentence1, sentence2 and score\nleave the label and the text column out"
        )
    pairs = read_pairs(question.data)
    return Evaluation(f"{len(pairs.scores):,} pairs of sentences", _subjects_of_pairs(embedder, pairs))


def _subjects_of_pairs(embedder: TextEmbedder, pairs: Pairs) -> Iterator[Subject]:
    """The subjects: bags of words, the encoder before its first step, and the trained encoder."""

    def subject(name: str, one: TextEmbedder) -> Subject:
        def similarities() -> Similarities:
            return of_embeddings(name, one.of_texts(pairs.first), one.of_texts(pairs.second), pairs.scores)

        return Subject(name, {Similarities: similarities})

    def of_words() -> Similarities:
        return Similarities(NAME, paired_cosines(pairs.first, pairs.second), pairs.scores, PAIRED)

    yield Subject(NAME, {Similarities: of_words})
    yield subject("untrained encoder", untrained(embedder))
    yield subject("pretrained encoder", embedder)


def untrained(embedder: TextEmbedder) -> TextEmbedder:
    """The same encoder with random weights: those before the first step, if the run began with random ones."""
    torch.manual_seed(initial_seed(embedder.description["seed"]))
    return TextEmbedder(embedder.encoder.untrained(), embedder.tokenizer, embedder.description, device=embedder.device)


def _open(question: Question) -> tuple[LabelledTexts, LabelledTexts, str]:
    """The train and test texts, and a few words on how they were split."""
    train, test = read_labelled_texts(question.data, **question.columns)
    how = "the data's own test split"
    if question.test is not None:
        whole, part = read_labelled_texts(question.test, **question.columns)
        test, how = part or whole, "test texts given apart"
    if test is None:
        train, test = (_part(train, positions) for positions in split_test_fifth(_labels(train)))
        return train, test, "a fifth of each class is for the test"
    require_same_classes(train.classes, test.classes)
    return train, test, how


def _part(whole: LabelledTexts, positions: Tensor) -> LabelledTexts:
    """The texts at some positions (n,)."""
    chosen: list[int] = positions.tolist()
    return LabelledTexts([whole.texts[i] for i in chosen], whole.labels[positions.numpy()], whole.classes)


def _labels(texts: LabelledTexts) -> Tensor:
    """The class numbers (N,) int64."""
    return torch.from_numpy(texts.labels).long()
