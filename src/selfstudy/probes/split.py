"""The split into train and test, where the data have none of their own."""

import torch
from torch import Tensor

from selfstudy.errors import DataError
from selfstudy.ops.random import permutation

_SHARE = 5  # one in five
_SPLIT_STREAM = 0x73706C


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
