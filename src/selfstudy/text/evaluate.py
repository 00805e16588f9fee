"""Opens labelled texts for an evaluation: TF-IDF, LSA, the untrained encoder and the pretrained one."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

from selfstudy.errors import UsageError
from selfstudy.ops.random import initial_seed
from selfstudy.probes.evaluation import Evaluation, Question, Subject, Trial
from selfstudy.probes.features import DenseFeatures, Features
from selfstudy.probes.finetune import RECIPE, Batch, Task, order_of
from selfstudy.probes.labels import check_labels
from selfstudy.probes.results import PRETRAINED, UNTRAINED
from selfstudy.probes.split import (
    MOST_TEST,
    MOST_TRAIN,
    require_same_classes,
    sample,
    sample_protocol,
    split_test_fifth,
)
from selfstudy.probes.sts import Similarities, of_embeddings
from selfstudy.probes.verdict import Split
from selfstudy.runs.folder import RunFolder
from selfstudy.runs.records import trained_in_half
from selfstudy.text.bag_of_words import NAME, PAIRED, BagsOfWords, paired_cosines
from selfstudy.text.embedder import TextEmbedder, encode_rows
from selfstudy.text.labelled import LabelledTexts, Pairs, read_labelled_texts, read_pairs
from selfstudy.text.lsa import NAME as LSA
from selfstudy.text.lsa import PAIRED as LSA_PAIRED
from selfstudy.text.lsa import reduced, reduced_pairs

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
    subjects, facts = _subjects(embedder, train, test, half=half, console=console), _facts(train, test)
    trial = Trial(lambda count: embedder.of_texts(train.texts[:count]), sum(used), "texts")
    return Evaluation(about, subjects, facts, sample_protocol(*zip(used, whole, strict=True)), trial)


def _facts(train: LabelledTexts, test: LabelledTexts) -> Split:
    """The facts about labelled texts on which a verdict rests."""
    of_train, of_test = (tuple(Counter(part.labels.tolist()).values()) for part in (train, test))
    known = set(train.texts)
    return Split(of_train, of_test, sum(text in known for text in test.texts))


def _subjects(
    embedder: TextEmbedder, train: LabelledTexts, test: LabelledTexts, *, half: bool, console: Console
) -> Iterator[Subject]:
    """The subjects: bags of words, their SVD, the encoder before its first step, and the trained encoder."""
    labels, test_labels = _labels(train), _labels(test)
    data = _digest([*train.texts, *test.texts], labels.tolist(), test_labels.tolist())

    @cache
    def bags() -> BagsOfWords:
        return BagsOfWords(train.texts, labels, test.texts, test_labels)

    def lsa() -> Features:
        train_rows, test_rows = reduced(bags().train, bags().test)
        return DenseFeatures(LSA, train_rows, labels, test_rows, test_labels)

    def inputs(name: str, encoder: Callable[[], TextEmbedder]) -> dict[type, Callable[[], object]]:
        def features() -> Features:
            rows, test_rows = (encoder().of_texts(part.texts) for part in (train, test))
            return DenseFeatures(name, rows, labels, test_rows, test_labels)

        return {Features: features, Task: lambda: _task(name, encoder(), train, test, half=half, console=console)}

    yield Subject(NAME, {Features: bags}, free=True, key=repr((NAME, data)))
    yield Subject(LSA, {Features: lsa}, free=True, key=repr((LSA, data)))
    first = cache(partial(untrained, embedder))
    yield Subject(UNTRAINED, inputs(UNTRAINED, first), free=True, key=repr((_first_key(embedder), half, data)))
    yield Subject(PRETRAINED, inputs(PRETRAINED, lambda: embedder))


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
    """The same subjects as for labelled texts."""
    data = _digest([*pairs.first, *pairs.second], pairs.scores.tolist())

    def of_words() -> Similarities:
        return Similarities(NAME, paired_cosines(pairs.first, pairs.second), pairs.scores, PAIRED)

    def lsa() -> Similarities:
        return of_embeddings(LSA, *reduced_pairs(pairs.first, pairs.second), pairs.scores, how=LSA_PAIRED)

    def of_encoder(name: str, encoder: Callable[[], TextEmbedder]) -> dict[type, Callable[[], object]]:
        def similarities() -> Similarities:
            first, second = (encoder().of_texts(texts) for texts in (pairs.first, pairs.second))
            return of_embeddings(name, first, second, pairs.scores)

        return {Similarities: similarities}

    yield Subject(NAME, {Similarities: of_words}, free=True, key=repr((NAME, data)))
    yield Subject(LSA, {Similarities: lsa}, free=True, key=repr((LSA, data)))
    first = cache(partial(untrained, embedder))
    yield Subject(UNTRAINED, of_encoder(UNTRAINED, first), free=True, key=repr((_first_key(embedder), data)))
    yield Subject(PRETRAINED, of_encoder(PRETRAINED, lambda: embedder))


def untrained(embedder: TextEmbedder) -> TextEmbedder:
    """The same encoder with random weights: those before the first step, if the run began with random ones."""
    torch.manual_seed(initial_seed(embedder.description["seed"]))
    return TextEmbedder(embedder.encoder.untrained(), embedder.tokenizer, embedder.description, device=embedder.device)


def _first_key(embedder: TextEmbedder) -> str:
    """A text that differs for two encoders before their first step."""
    about = embedder.description
    names = ("name", "head", "pool", "context", "vocabulary", "tokenizer_sha256", "seed")
    network: Any = embedder.encoder.network
    return repr(([about[name] for name in names], network.config.to_json_string(), embedder.device.type))


def _digest(texts: Sequence[str], *numbers: object) -> str:
    """A digest of texts, their order, and the labels or scores that belong to them."""
    return hashlib.blake2b(repr((texts, numbers)).encode()).hexdigest()


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
