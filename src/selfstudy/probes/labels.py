"""The check of labels that comes before every accuracy."""

from collections.abc import Sequence

from torch import Tensor

from selfstudy.errors import DataError

_SHOWN = 10  # class names listed in a message before "and N more"


def check_labels(train_labels: Tensor, test_labels: Tensor, class_names: Sequence[str] | None = None) -> None:
    """Raise for labels on which an accuracy would be meaningless or easy to misread.

    Args:
        train_labels: (N,) int64.
        test_labels: (M,) int64, in the same numbering.
        class_names: the names of classes for messages, by label.

    Raises:
        DataError: fewer than 2 examples in a split, a label below 0 (many data sets mark unlabelled examples with -1),
            a single class, or classes that are in only one of the splits.
    """
    for split, labels in (("train", train_labels), ("test", test_labels)):
        _check_split(split, labels)
    train, test = set(train_labels.tolist()), set(test_labels.tolist())
    if len(train | test) == 1:
        raise DataError(
            f"all labels are the same class ({_listing(train, class_names)}): every answer would be right\n"
            "an accuracy needs at least 2 classes\nuse labelled examples of several classes"
        )
    if train != test:
        raise DataError(
            f"train and test hold different classes: only in train: {_listing(train - test, class_names)}; "
            f"only in test: {_listing(test - train, class_names)}\n"
            "every class must be in both splits\ncheck the folder names, or take both splits from the same data"
        )


def _check_split(split: str, labels: Tensor) -> None:
    """Raise for the problems that one split can have by itself."""
    if len(labels) < 2:
        raise DataError(
            f"the {split} split holds {len(labels)} labelled example{'' if len(labels) == 1 else 's'}\n"
            "an evaluation needs at least 2 in each split\ngive more labelled examples"
        )
    if unlabelled := int((labels < 0).sum()):
        raise DataError(
            f"{unlabelled:,} of {len(labels):,} {split} labels are below 0, which usually marks unlabelled examples\n"
            "labels must be 0 or more\nleave the unlabelled examples out"
        )


def _listing(labels: set[int], class_names: Sequence[str] | None) -> str:
    """``"cat, dog and 3 more"``, ``"none"`` for an empty set."""
    names = [class_names[label] if class_names else str(label) for label in sorted(labels)]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return (", ".join(names[:_SHOWN]) or "none") + more
