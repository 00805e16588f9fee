"""What is trained on and what is tested on, where the data have no split of their own."""

import torch
from torch import Tensor

from selfstudy.errors import DataError
from selfstudy.ops.random import permutation

_HELD_OUT = 5  # one in five
_SPLIT_STREAM = 0x73706C


def hold_out(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Positions to train on and to test on: a fifth of every class, chosen by a fixed permutation, is for the test.

    Args:
        labels: (N,) int64.
    """
    is_test = torch.zeros(len(labels), dtype=torch.bool)
    for label in torch.unique(labels).tolist():
        members = torch.nonzero(labels == label).flatten()
        order = permutation(len(members), _SPLIT_STREAM, label)
        is_test[members[order[: max(1, len(members) // _HELD_OUT)]]] = True
    return torch.nonzero(~is_test).flatten(), torch.nonzero(is_test).flatten()


def require_same_classes(train: list[str], test: list[str]) -> None:
    """Refuse to compare numbers of classes that are not the same classes.

    Raises:
        DataError: naming the classes that only one side has.
    """
    only_train, only_test = sorted(set(train) - set(test)), sorted(set(test) - set(train))
    if only_train or only_test:
        raise DataError(
            f"train and test do not have the same classes\nonly in train: {', '.join(only_train) or 'none'}\n"
            f"only in test: {', '.join(only_test) or 'none'}"
        )
