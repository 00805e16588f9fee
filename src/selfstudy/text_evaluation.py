"""Evaluates a run on text: the same probes on TF-IDF, on the untrained encoder and on the pretrained one."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

from selfstudy.data.labelled_texts import LabelledTexts, read_labelled_texts, read_pairs
from selfstudy.evaluate.bag_of_words import tf_idf_scores
from selfstudy.evaluate.probes import evaluate_features
from selfstudy.evaluate.results import Results, Score
from selfstudy.evaluate.similarity import TF_IDF_COSINE, rank_score, similarity_score, tf_idf_similarity
from selfstudy.evaluate.split import hold_out, require_same_classes
from selfstudy.run_folder import RunFolder
from selfstudy.text_embedder import TextEmbedder
from selfstudy.work import initial_seed


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
    console.print("         TF-IDF bag of words", highlight=False)
    scores: list[Score] = tf_idf_scores(train.texts, labels, held_out.texts, test_labels, probes=probes)
    for name, extractor in (("untrained encoder", untrained(embedder)), ("pretrained encoder", embedder)):
        console.print(f"         {name}", highlight=False)
        features, test_features = (extractor.of_texts(part.texts) for part in (train, held_out))
        scores += evaluate_features(name, features, labels, test_features, test_labels, probes=probes)
    return Results(scores)


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
    return TextEmbedder(embedder.encoder.anew(), embedder.tokenizer, embedder.description, device=embedder.device)


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
