import itertools

import pytest
import torch
from sklearn.linear_model import LogisticRegression

from selfstudy.probes.features import DenseFeatures, Words
from selfstudy.probes.low_shot import L2, drawn_labels, measure


def problem(n, *, classes=3, seed=0):
    draw = torch.Generator().manual_seed(7)
    means = torch.randn(classes, 12, generator=draw)
    draw.manual_seed(seed)
    targets = torch.arange(n) % classes
    return (means[targets] + torch.randn(n, 12, generator=draw)) * torch.logspace(-2, 2, 12) + 3, targets


@pytest.mark.parametrize("shots", [1, 5])
def test_the_classifier_is_scikit_learns_on_features_standardised_by_all_of_train(shots):
    (train, targets), (test, test_targets) = problem(300), problem(200, seed=1)
    rows = drawn_labels(targets, shots, 0, 0)
    mean, std = train.mean(0), train.std(0, correction=0)
    rows_of_length_one = (train[rows] - mean) / std / 12**0.5
    model = LogisticRegression(C=10.0, tol=1e-8).fit(rows_of_length_one.numpy(), targets[rows].numpy())
    wanted = model.predict(((test - mean) / std / 12**0.5).numpy())
    features = DenseFeatures("x", train, targets, test, test_targets)
    assert (features.classify(rows, L2 * features.scale).numpy() == wanted).mean() > 0.99


def test_every_draw_has_as_many_of_each_class_and_fewer_labels_are_among_more():
    targets = torch.tensor([0] * 30 + [1] * 50 + [2] * 26)
    for draw in range(5):
        few, more = (drawn_labels(targets, shots, 0, draw) for shots in (5, 25))
        assert torch.bincount(targets[few]).tolist() == [5, 5, 5] and len(more.unique()) == 75
        assert set(few.tolist()) < set(more.tolist())


def test_draws_differ_and_depend_on_the_seed_alone():
    targets = torch.arange(300) % 3
    before = torch.get_rng_state()
    first = drawn_labels(targets, 5, 0, 0)
    torch.manual_seed(5)
    assert torch.equal(first, drawn_labels(targets, 5, 0, 0))
    torch.set_rng_state(before)
    others = [drawn_labels(targets, 5, 0, 1), drawn_labels(targets, 5, 1, 0)]
    assert not any(torch.equal(first.sort().values, other.sort().values) for other in others)


class Answers:
    """Features of which a probe sees the classes, and what a classifier would say."""

    name, seed, scale = "x", 0, 1
    words = Words("f", "f", "f", "f with {l2:g}")

    def __init__(self, targets, test_targets, answers):
        self.targets, self.test_targets, self._answers = targets, test_targets, iter(answers)

    def classify(self, rows, l2):
        return torch.tensor(next(self._answers))


@pytest.mark.parametrize(("smallest", "names"), [(1, ["1"]), (24, ["1", "5"]), (25, ["1", "5", "25"])])
def test_only_numbers_of_labels_that_every_class_has_are_measured(smallest, names):
    targets = torch.tensor([0] * 40 + [1] * smallest)
    scores = measure(Answers(targets, torch.zeros(4).long(), itertools.repeat([0] * 4)))
    assert [score.probe for score in scores] == [f"low-shot-{name}" for name in names]


def test_a_score_is_the_mean_of_the_draws_with_their_standard_deviation():
    answers = [[0, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 1], [0, 1, 1, 1], [1, 1, 1, 1]]  # 100, 75, 50, 25, 0
    (score,) = measure(Answers(torch.tensor([0, 1]), torch.zeros(4).long(), answers))
    assert score.accuracy == 50 and score.spread == pytest.approx(25 * 2.5**0.5)
    assert score.protocol == (
        "low-shot: 1 to 25 labels of each class, mean and standard deviation of 5 draws (seed 0), logistic regression, "
        "f with 0.1, 4 test"
    )


def test_more_labels_give_a_higher_accuracy_and_a_smaller_spread():
    one, _, many = measure(DenseFeatures("x", *problem(300), *problem(300, seed=1)))
    assert one.accuracy < many.accuracy and one.spread > many.spread
