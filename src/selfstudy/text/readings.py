"""Labelled texts for k-NN readings during training: a small part of train, tokenised once."""

from typing import Any

import torch
from torch import Tensor, nn

from selfstudy.encoders.text import TextEncoder
from selfstudy.nn.modes import evaluation_mode
from selfstudy.probes.evaluation import Subject
from selfstudy.probes.features import DenseFeatures, Features
from selfstudy.probes.split import small_bank, split_test_fifth
from selfstudy.text.bag_of_words import NAME, BagsOfWords
from selfstudy.text.embedder import TextEmbedder, encode_rows
from selfstudy.text.labelled import read_labelled_texts
from selfstudy.train.readings import EvalSet

_MOST = 2_500  # texts
_BATCH = 64


def open_eval_set(data: Any, embedder: TextEmbedder) -> EvalSet:
    """Texts of the train part of labelled data: 2,000 in the bank and 500 that are asked; only their first rows count.

    Args:
        data: labelled texts, as for an evaluation, whose test texts are left alone.
        embedder: an encoder like that of the run, with its tokenizer; only its tokenizer is used.

    Raises:
        UsageError: the data does not exist, or has no column of labels.
        DataError: it is damaged, or has fewer than two classes of two texts.
    """
    train, test = read_labelled_texts(data)
    labels, texts = torch.from_numpy(train.labels).long(), train.texts
    part = torch.arange(len(labels)) if test is not None else split_test_fifth(labels)[0]  # as in an evaluation
    bank, queries = (part[chosen] for chosen in small_bank(labels[part], _MOST))
    rows = {position: row for chosen in (bank, queries) for position, row in _rows(embedder, texts, chosen)}

    def of_encoder(encoder: nn.Module) -> Subject:
        def features() -> Features:
            of_bank, of_queries = (_embedded(encoder, [rows[i] for i in part.tolist()]) for part in (bank, queries))
            return DenseFeatures("encoder in training", of_bank, labels[bank], of_queries, labels[queries])

        return Subject("encoder in training", {Features: features})

    def words() -> Features:
        of_bank, of_queries = ([texts[i] for i in part.tolist()] for part in (bank, queries))
        return BagsOfWords(of_bank, labels[bank], of_queries, labels[queries])

    about = f"{len(bank):,} texts of train in the bank, {len(queries):,} asked"
    return EvalSet(about, [Subject(NAME, {Features: words}, free=True)], of_encoder)


def _rows(embedder: TextEmbedder, texts: list[str], chosen: Tensor) -> list[tuple[int, Tensor]]:
    """The positions of some texts, each with its first row (T,) int64."""
    positions: list[int] = chosen.tolist()
    return list(zip(positions, embedder.first_rows([texts[i] for i in positions]), strict=True))


def _embedded(encoder: nn.Module, rows: list[Tensor]) -> Tensor:
    """The embeddings (n, D) float32 of rows, on the CPU; rows of similar lengths are embedded together."""
    assert isinstance(encoder, TextEncoder)  # the work of the run built it
    order = sorted(range(len(rows)), key=lambda number: len(rows[number]))
    with evaluation_mode(encoder), torch.no_grad():  # what the network keeps for later must fit training
        parts = [
            encode_rows(encoder, [rows[number] for number in order[start : start + _BATCH]]).float().cpu()
            for start in range(0, len(order), _BATCH)
        ]
    return torch.cat(parts)[torch.tensor(order).argsort()]
