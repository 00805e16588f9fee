"""The split into train and test, where the data have none of their own."""

import torch
from torch import Tensor

from selfstudy.errors import DataError
from selfstudy.ops.random import permutation

_SHARE = 5  # one in five
MOST_TRAIN, MOST_TEST = 60_000, 10_000
"""The most examples that an evaluation takes unless it is told to take all.

The usual official splits (CIFAR-10, Fashion-MNIST) are not cut. The interval of an accuracy on 10,000 is at most one
point to either side, so that more test examples would not change a decision.
"""
_SPLIT_STREAM, _BANK_STREAM, _SAMPLE_STREAM = 0x73706C, 0x62616E6B, 0x73616D70


def split_test_fifth(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Positions of train and of the test fifth: a fifth of every class, at least one, by a fixed permutation.

    Args:
        labels: (N,) int64.

    Returns:
        Rising positions, int64: (N - M,) and (M,).
    """
    is_test = torch.zeros(len(labels), dtype=torch.bool)
    for label in torch.unique(labels).tolist():
        members = torch.nonzero(labels == label).flatten()
        order = permutation(len(members), _SPLIT_STREAM, label)
        is_test[members[order[: max(1, len(members) // _SHARE)]]] = True
    return torch.nonzero(~is_test).flatten(), torch.nonzero(is_test).flatten()


def sample(labels: Tensor, most: int) -> Tensor:
    """Positions of at most ``most`` examples: of every class the same share, at least one, by a fixed permutation.

    Args:
        labels: (N,) int64.
        most: the largest number of examples, at least that of the classes.

    Returns:
        Rising positions, int64: all of them if N is at most ``most``.
    """
    if len(labels) <= most:
        return torch.arange(len(labels))
    chosen = []
    for label in torch.unique(labels).tolist():
        members = torch.nonzero(labels == label).flatten()
        wanted = max(1, most * len(members) // len(labels))
        chosen.append(members[permutation(len(members), _SAMPLE_STREAM, label)[:wanted]])
    return torch.cat(chosen).sort().values


def sample_protocol(train: tuple[int, int], test: tuple[int, int]) -> str:
    """A description of a sample for protocol strings; empty if nothing was left out.

    Args:
        train: the number of examples that are used, and of all.
        test: the same of test.

    >>> sample_protocol((60_000, 210_000), (10_000, 10_000))
    'stratified sample of 60,000 of 210,000 train and 10,000 of 10,000 test'
    >>> sample_protocol((50_000, 50_000), (10_000, 10_000))
    ''
    """
    if train[0] == train[1] and test[0] == test[1]:
        return ""
    return f"stratified sample of {train[0]:,} of {train[1]:,} train and {test[0]:,} of {test[1]:,} test"


def small_bank(labels: Tensor, at_most: int) -> tuple[Tensor, Tensor]:
    """Positions of a bank and of queries from train: of every class the same share, by a fixed permutation.

    Args:
        labels: (N,) int64; examples with a label below 0, and of classes that have only one example, are left out.
        at_most: the largest number of examples, at least 4; where there are more than half as many classes, some
            classes are left out.

    Returns:
        Rising positions, int64: (b,) and (q,), where q is about a fifth of both.

    Raises:
        DataError: fewer than two classes have two examples.
    """
    classes = [label for label in torch.unique(labels).tolist() if label >= 0 and int((labels == label).sum()) > 1]
    if len(classes) < 2:
        raise DataError(
            f"k-NN needs two classes with two examples each, and {len(labels):,} labelled examples have not\n"
            "give more labelled examples"
        )
    order = permutation(len(classes), _BANK_STREAM)[: at_most // 2].tolist()
    members = {classes[number]: torch.nonzero(labels == classes[number]).flatten() for number in order}
    share = min(1.0, at_most / sum(map(len, members.values())))
    chosen = []
    for label, positions in members.items():
        drawn = permutation(len(positions), _BANK_STREAM, label)[: max(2, int(share * len(positions)))]
        chosen.append(positions[drawn])
    kept = torch.cat(chosen).sort().values
    bank, queries = split_test_fifth(labels[kept])
    return kept[bank], kept[queries]


def require_same_classes(train: list[str], test: list[str]) -> None:
    """Raise unless both splits have the same class names.

    Raises:
        DataError: naming the classes that only one split has.
    """
    only_train, only_test = sorted(set(train) - set(test)), sorted(set(test) - set(train))
    if only_train or only_test:
        raise DataError(
            f"train and test do not have the same classes\nonly in train: {', '.join(only_train) or 'none'}\n"
            f"only in test: {', '.join(only_test) or 'none'}"
        )
