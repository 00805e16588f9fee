"""The split into train and test, where the data have none of their own."""

import torch
from torch import Tensor

from selfstudy.errors import DataError
from selfstudy.ops.random import permutation

_SHARE = 5  # one in five
_SPLIT_STREAM, _BANK_STREAM = 0x73706C, 0x62616E6B


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
