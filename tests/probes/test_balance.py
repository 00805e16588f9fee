import io

import numpy as np
import pytest
import torch
from rich.console import Console
from sklearn.metrics import balanced_accuracy_score, f1_score

from selfstudy.probes import knn, linear, named
from selfstudy.probes.balance import MAJORITY, balanced, uneven
from selfstudy.probes.evaluation import Evaluation, Subject, evaluate
from selfstudy.probes.features import DenseFeatures, Features


def test_classes_are_uneven_if_the_largest_has_more_than_three_times_the_smallest():
    assert not uneven(torch.tensor([0] * 30 + [1] * 10))
    assert uneven(torch.tensor([0] * 31 + [1] * 10))


def answers(m=500, classes=4):
    """Predicted and true classes (m,), of which the first class has most."""
    draw = np.random.default_rng(0)
    truth = np.minimum(draw.geometric(0.5, m) - 1, classes - 1)
    return torch.from_numpy(np.where(draw.random(m) < 0.7, truth, draw.integers(classes, size=m))), torch.from_numpy(
        truth
    )


def test_both_figures_are_those_of_scikit_learn_and_inside_their_intervals():
    predictions, targets = answers()
    found = balanced(predictions, targets, 4)
    assert found["-balanced"][0] == pytest.approx(100 * balanced_accuracy_score(targets, predictions))
    assert found["-f1"][0] == pytest.approx(100 * f1_score(targets, predictions, average="macro"))
    for value, (low, high) in found.values():
        assert low < value < high and high - low < 15


def test_a_class_that_no_draw_holds_is_left_out_of_the_mean_of_that_draw():
    predictions, targets = torch.tensor([0, 0, 0, 1]), torch.tensor([0, 0, 0, 1])
    assert balanced(predictions, targets, 2)["-balanced"] == (100.0, (100.0, 100.0))


def features(name="x", shares=(0.8, 0.2), n=200, m=100):
    """Features in which the class is hard to see, with classes of these shares."""
    draw = torch.Generator().manual_seed(0)
    labels = (torch.arange(n + m) % 10 >= 10 * shares[0]).long()
    x = torch.randn(n + m, 5, generator=draw) + labels[:, None]
    return DenseFeatures(name, x[:n], labels[:n], x[n:], labels[n:])


@pytest.mark.parametrize(("probe", "columns"), [(knn, ("knn", "knn-whitened")), (linear, ("linear",))])
def test_uneven_classes_get_figures_of_their_own_and_the_share_of_the_majority(probe, columns):
    found = {score[:2]: score for score in probe.measure(features())}
    for column in columns:
        assert found["x", f"{column}-balanced"].value < found["x", column].value
        assert found["x", f"{column}-f1"].protocol == found["x", column].protocol
        majority = found[MAJORITY, column]
        assert majority.value == 80.0 and majority.free and sum(majority.right) == 80
        assert majority.protocol == (
            "majority class: the most frequent class of train for every test example, 200 train / 100 test"
        )


def test_even_classes_get_none_of_them():
    assert [score.probe for score in linear.measure(features(shares=(0.5, 0.5)))] == ["linear"]


def test_the_majority_class_is_one_row_of_an_evaluation_and_can_be_the_best_free_one():
    subjects = [
        Subject("weak", {Features: lambda: features("weak")}, free=True),
        Subject("encoder", {Features: lambda: features("encoder")}),
    ]
    found = evaluate(Evaluation("", subjects), named(["linear"]), console=Console(file=io.StringIO()))
    assert [score.features for score in found if score.probe == "linear"] == ["weak", MAJORITY, "encoder"]
    assert "majority class  80.0 ±7.8 %" in str(found) and "linear balanced" in str(found) and "linear F1" in str(found)
    assert [score.free for score in found if score.probe == "linear"] == [True, True, False]
