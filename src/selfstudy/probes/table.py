"""All probes on one set of features, under one protocol."""

from collections.abc import Sequence

import torch
from torch import Tensor

from selfstudy.errors import DataError, UsageError, did_you_mean
from selfstudy.probes.knn import TEMPERATURE, K, knn_accuracy, knn_protocol
from selfstudy.probes.labels import check_labels
from selfstudy.probes.linear import linear_probe
from selfstudy.probes.low_shot import L2, classifier_of, low_shot_scores
from selfstudy.probes.results import Score
from selfstudy.probes.retrieval import cosines_of, retrieval_scores

PROBES = ("knn", "linear")  # unless others are asked for
FROZEN = (*PROBES, "low-shot", "retrieval")  # of features that stay as they are
FINETUNE = "finetune"
KNOWN = (*FROZEN, FINETUNE)
STS = "sts"  # of pairs of texts alone, see evaluate/similarity.py


def require_known(probes: Sequence[str]) -> None:
    """Refuse a probe that there is not, before the minutes that embedding takes.

    Raises:
        UsageError: naming the nearest one, and all.
    """
    for probe in probes:
        if probe not in KNOWN:
            raise UsageError(
                f"unknown probe {probe!r}{did_you_mean(probe, KNOWN)}\nknown: {', '.join(KNOWN)}; {STS} by itself"
            )


def evaluate_features(
    name: str,
    train: Tensor,
    train_labels: Tensor,
    test: Tensor,
    test_labels: Tensor,
    *,
    probes: Sequence[str] = PROBES,
) -> list[Score]:
    """The scores of every probe on these features.

    Args:
        name: what the features are, for the table: ``"raw pixels"``, ``"untrained encoder"``, ``"pretrained encoder"``.
        train: (N, D) float32.
        train_labels: (N,) int64.
        test: (M, D) float32.
        test_labels: (M,) int64.
        probes: any of :data:`FROZEN`.

    Raises:
        DataError: labels refused by :func:`selfstudy.probes.labels.check_labels`, a label missing for an image, or
            features that are not finite.
    """
    _check_features(name, train, train_labels)
    _check_features(name, test, test_labels)
    check_labels(train_labels, test_labels)
    return [score for probe in probes for score in _scores(name, probe, (train, train_labels), (test, test_labels))]


def _scores(name: str, probe: str, train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor]) -> list[Score]:
    """One probe's columns of the table."""
    if probe == "low-shot":
        return _low_shot(name, *train, *test)
    if probe == "retrieval":
        return retrieval_scores(name, cosines_of(train[0], test[0]), train[1], test[1], features="frozen, final model")
    if probe == "knn":
        protocol = knn_protocol(K, TEMPERATURE, len(train[0]), len(test[0]))
        return [Score(name, probe, knn_accuracy(*train, *test), protocol)]
    result = linear_probe(*train, *test)
    return [Score(name, probe, result.accuracy, result.protocol)]


def _low_shot(name: str, train: Tensor, train_labels: Tensor, test: Tensor, test_labels: Tensor) -> list[Score]:
    """Columns of the probe on few labels."""
    classes, targets = torch.unique(train_labels, return_inverse=True)
    test_targets = torch.searchsorted(classes, test_labels)
    features = f"frozen features standardised by all {len(train):,} of train, L2 = {L2:g} of their number, final model"
    return low_shot_scores(name, classifier_of(train, targets, test), targets, test_targets, features=features)


def _check_features(name: str, features: Tensor, labels: Tensor) -> None:
    """One label for every row, and numbers only: a NaN would be ranked as the nearest neighbour of everything."""
    if len(features) != len(labels):
        raise DataError(
            f"{name}: {len(features):,} feature vectors but {len(labels):,} labels\n"
            "every image needs exactly one label\ncheck which images were skipped as unreadable"
        )
    damaged = len(features) - int(torch.isfinite(features).all(dim=1).sum())
    if damaged:
        raise DataError(
            f"{name}: {damaged:,} of {len(features):,} feature vectors hold NaN or infinity\n"
            "probes need finite numbers\nevaluate in fp32, or take an earlier checkpoint if training diverged"
        )
