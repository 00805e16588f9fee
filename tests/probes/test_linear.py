import time
from typing import NamedTuple

import pytest
import torch
from sklearn.linear_model import LogisticRegression

from selfstudy.probes import features as room
from selfstudy.probes import linear
from selfstudy.probes.features import DenseFeatures, Trial


def problem(n, dim=20, classes=4, *, seed=0):
    """Correlated, badly scaled features with overlapping classes."""
    generator = torch.Generator().manual_seed(7)
    means, mix = torch.randn(classes, dim, generator=generator), torch.randn(dim, dim, generator=generator)
    generator.manual_seed(seed)
    labels = torch.randint(0, classes, (n,), generator=generator)
    features = (0.3 * means[labels] + torch.randn(n, dim, generator=generator)) @ mix
    return features * torch.logspace(-3, 3, dim) + 5.0, labels


class Result(NamedTuple):
    """The answer of the probe, and the strength it chose."""

    accuracy: float
    l2: float
    protocol: str


def linear_probe(*data, seed=0):
    features = DenseFeatures("x", *data, seed=seed)
    score, *_ = linear.measure(features)
    return Result(score.accuracy, linear.classify(features)[1], score.protocol)


def test_accuracy_agrees_with_scikit_learn_within_half_a_point():
    train, train_labels = problem(2000)
    test, test_labels = problem(2000, seed=1)
    result = linear_probe(train, train_labels, test, test_labels)
    mean, std = train.mean(0), train.std(0, correction=0)
    reference = LogisticRegression(C=1 / result.l2, max_iter=2000).fit(((train - mean) / std).numpy(), train_labels)
    expected = 100 * reference.score(((test - mean) / std).numpy(), test_labels)
    assert result.accuracy == pytest.approx(expected, abs=0.5)
    assert 40 < result.accuracy < 95  # a problem on which agreement means something
    assert result.l2 in DenseFeatures.strengths


def test_the_protocol_names_every_choice():
    train, labels = problem(120)
    assert linear_probe(train, labels, train[:50], labels[:50], seed=3).protocol == (
        "linear: logistic regression, standardised frozen features, L2 of 7 values chosen on a held-out 10 % of train "
        "(seed 3), final model, 120 train / 50 test, test used once"
    )


def test_the_test_labels_decide_nothing_but_the_accuracy(monkeypatch):
    train, labels = problem(300)
    test, test_labels = problem(100, seed=1)
    honest = linear_probe(train, labels, test, test_labels)
    wrong = linear_probe(train, labels, test, (test_labels + 1) % 4)
    assert wrong.l2 == honest.l2 and wrong.accuracy <= 100 - honest.accuracy


def test_noise_features_choose_a_stronger_l2_than_clean_ones():
    clean = torch.nn.functional.one_hot(torch.arange(400) % 4).float()
    labels = torch.arange(400) % 4
    generator = torch.Generator().manual_seed(0)
    noisy = torch.cat([0.5 * clean, torch.randn(400, 300, generator=generator)], dim=1)
    result = linear_probe(noisy, labels, noisy, labels)
    assert result.l2 >= 100
    assert linear_probe(clean, labels, clean, labels).accuracy == 100.0


def test_the_validation_tenth_is_of_every_class_and_depends_on_the_seed_alone():
    labels = torch.tensor([0] * 100 + [1] * 50 + [2] * 3 + [3])
    mask = linear.validation_tenth(labels, 0)
    assert [int(mask[labels == c].sum()) for c in range(4)] == [10, 5, 1, 0]
    torch.manual_seed(5)
    assert torch.equal(mask, linear.validation_tenth(labels, 0))
    assert not torch.equal(mask, linear.validation_tenth(labels, 1))


def test_many_numbers_walk_the_path_on_part_of_the_images_and_the_protocol_says_so(monkeypatch):
    train, labels = problem(2000)
    whole = linear_probe(train, labels, train, labels)
    monkeypatch.setattr(room, "_PATH_ELEMENTS", 500 * 21)
    part = linear_probe(train, labels, train, labels)
    assert "a held-out 10 % of 500 train images (seed 0)" in part.protocol
    assert part.accuracy == pytest.approx(whole.accuracy, abs=2)


def test_label_values_need_not_be_consecutive():
    train, labels = problem(200)
    moved = labels * 10 + 5
    assert linear_probe(train, moved, train, moved) == linear_probe(train, labels, train, labels)


def test_shift_and_scale_of_the_features_do_not_matter():
    train, labels = problem(200)
    moved = train * torch.linspace(1, 50, 20) - 3
    assert linear_probe(moved, labels, moved, labels).accuracy == pytest.approx(
        linear_probe(train, labels, train, labels).accuracy, abs=1.0
    )


@pytest.mark.parametrize(
    "features",
    [
        torch.ones(60, 8),
        torch.randn(60, 1).expand(60, 300),
        torch.randn(60, 3) @ torch.randn(3, 200) * 1e4 + 1e6,
        torch.randn(60, 500),
    ],
    ids=["constant", "identical columns", "low rank far from zero", "wider than long"],
)
def test_degenerate_features_give_an_accuracy_not_an_exception(features):
    labels = torch.arange(60) % 3
    assert 20 <= linear_probe(features, labels, features, labels).accuracy <= 100


def test_two_images_of_two_classes_are_enough():
    assert linear_probe(torch.eye(2), torch.arange(2), torch.eye(2), torch.arange(2)).accuracy == 100.0


def test_no_random_state_is_touched_and_a_second_run_is_identical():
    train, labels = problem(200)
    before = torch.get_rng_state()
    first, second = (linear_probe(train, labels, train, labels) for _ in range(2))
    assert torch.equal(before, torch.get_rng_state())
    assert first == second


def test_features_made_in_inference_mode_are_accepted():
    with torch.inference_mode():
        train, labels = problem(100)
    assert linear_probe(train, labels, train, labels).accuracy > 25


@pytest.mark.slow
def test_fifty_thousand_images_take_seconds():
    train, train_labels = problem(50_000, 512, 10)
    test, test_labels = problem(10_000, 512, 10, seed=1)
    began = time.perf_counter()
    result = linear_probe(train, train_labels, test, test_labels)
    assert time.perf_counter() - began < 60  # 4 s on two free cores
    assert result.accuracy > 50


def test_weaker_strengths_are_not_tried_after_two_in_a_row_that_are_worse(monkeypatch):
    features = DenseFeatures("x", *problem(100), *problem(40, seed=1))
    tried = []

    def path(rows, check):
        wrong = (features.targets[check] + 1) % 4
        for place, right in enumerate((3, 5, 4, 5, 4, 3, 9)):  # right answers of seven strengths
            tried.append(place)
            yield Trial(torch.where(torch.arange(len(check)) < right, features.targets[check], wrong), None)

    monkeypatch.setattr(features, "path", path)
    assert linear.classify(features)[1] == features.strengths[1]
    assert tried == [0, 1, 2, 3, 4, 5]
