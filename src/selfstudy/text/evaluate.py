"""Evaluates a run on text: the same probes on TF-IDF, on the untrained encoder and on the pretrained one."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

from selfstudy.ops.random import initial_seed
from selfstudy.probes.finetune import RECIPE, Batch, Task, finetuned, order_of
from selfstudy.probes.labels import check_labels
from selfstudy.probes.results import Results, Score
from selfstudy.probes.split import hold_out, require_same_classes
from selfstudy.probes.table import FINETUNE, evaluate_features
from selfstudy.runs.folder import RunFolder
from selfstudy.runs.records import trained_in_half
from selfstudy.text.bag_of_words import tf_idf_scores
from selfstudy.text.embedder import TextEmbedder, encode_rows
from selfstudy.text.labelled import LabelledTexts, read_labelled_texts, read_pairs
from selfstudy.text.similarity import TF_IDF_COSINE, rank_score, similarity_score, tf_idf_similarity

_BATCH = 64


def evaluate_text_run(
    folder: RunFolder,
    data: Any,
    *,
    test: Any,
    probes: tuple[str, ...],
    console: Console,
    label_column: str = "auto",
    text_column: str = "auto",
) -> Results:
    """All scores of a run on labelled texts; the test texts are touched once, by the final encoder."""
    embedder = TextEmbedder.load(folder.path)
    train, held_out, split = _open(data, test, {"label_column": label_column, "text_column": text_column})
    console.print(f"evaluate {len(train.texts):,} train, {len(held_out.texts):,} test texts; {split}", highlight=False)
    labels, test_labels = (torch.from_numpy(part.labels).long() for part in (train, held_out))
    frozen = [probe for probe in probes if probe != FINETUNE]
    half = trained_in_half(folder, embedder.device)
    scores: list[Score] = []
    if frozen:
        console.print("         TF-IDF bag of words", highlight=False)
        scores += tf_idf_scores(train.texts, labels, held_out.texts, test_labels, probes=frozen)
    for name, extractor in (("untrained encoder", untrained(embedder)), ("pretrained encoder", embedder)):
        if frozen:
            console.print(f"         {name}", highlight=False)
            features, test_features = (extractor.of_texts(part.texts) for part in (train, held_out))
            scores += evaluate_features(name, features, labels, test_features, test_labels, probes=frozen)
        if FINETUNE in probes:
            task, n_test = _task(extractor, train, held_out), len(held_out.texts)
            scores.append(finetuned(name, extractor.encoder, task, n_test=n_test, half=half, console=console))
    return Results(scores)


def _task(embedder: TextEmbedder, train: LabelledTexts, test: LabelledTexts) -> Task:
    """Texts and classes to fine-tune an encoder on, each text as far as a row holds it."""
    rows, test_rows = (embedder.first_rows(part.texts) for part in (train, test))
    labels, test_labels = (torch.from_numpy(part.labels).long() for part in (train, test))
    check_labels(labels, test_labels, train.classes)
    order = order_of(len(rows), RECIPE)

    def of_train(step: int) -> Batch:
        _, chosen = order.batch(step)
        return Batch([rows[i] for i in chosen.tolist()], labels[chosen].to(embedder.device))

    def of_test() -> Iterator[Batch]:
        for start in range(0, len(test_rows), _BATCH):
            part = slice(start, start + _BATCH)
            yield Batch(test_rows[part], test_labels[part].to(embedder.device))

    how = f"the first {embedder.context} tokens of a text"
    return Task(RECIPE, order, of_train, of_test(), len(train.classes), encode_rows, how)


def evaluate_pairs(folder: RunFolder, data: Any, *, console: Console) -> Results:
    """How well the cosines of sentence embeddings follow human scores of how alike two sentences are."""
    embedder, pairs = TextEmbedder.load(folder.path), read_pairs(data)
    console.print(f"evaluate {len(pairs.scores):,} pairs of sentences", highlight=False)
    bags = tf_idf_similarity(pairs.first, pairs.second)
    scores = [rank_score("TF-IDF bag of words", bags, pairs.scores, how=TF_IDF_COSINE)]
    for name, extractor in (("untrained encoder", untrained(embedder)), ("pretrained encoder", embedder)):
        first, second = (extractor.of_texts(texts) for texts in (pairs.first, pairs.second))
        scores.append(similarity_score(name, first, second, pairs.scores))
    return Results(scores)


def untrained(embedder: TextEmbedder) -> TextEmbedder:
    """The same encoder with random weights: those it had before the first step, if it began with random ones."""
    torch.manual_seed(initial_seed(embedder.description["seed"]))
    return TextEmbedder(embedder.encoder.untrained(), embedder.tokenizer, embedder.description, device=embedder.device)


def _open(data: Any, test: Any, columns: Mapping[str, str]) -> tuple[LabelledTexts, LabelledTexts, str]:
    """Train and test texts, and a sentence on how they were split."""
    whole = read_labelled_texts(data, **columns)
    if test is None:
        kept, held = hold_out(torch.from_numpy(whole.labels).long())
        return _part(whole, kept), _part(whole, held), "a fifth of each class held out"
    other = read_labelled_texts(test, **columns)
    require_same_classes(whole.classes, other.classes)
    return whole, other, "test texts given apart"


def _part(whole: LabelledTexts, positions: Tensor) -> LabelledTexts:
    chosen: Sequence[int] = positions.tolist()
    return LabelledTexts([whole.texts[i] for i in chosen], whole.labels[positions.numpy()], whole.classes)
