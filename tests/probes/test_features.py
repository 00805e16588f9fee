import math

import pytest
import torch
from sklearn.datasets import load_digits

from selfstudy.errors import DataError
from selfstudy.images.features import raw_pixels
from selfstudy.probes import DEFAULT, named
from selfstudy.probes import features as room
from selfstudy.probes.features import DenseFeatures

FROZEN = ("knn", "linear", "low-shot", "retrieval")


def evaluate_features(*data, probes=DEFAULT):
    features = DenseFeatures(*data)
    return [score for probe in named(probes) for score in probe.measure(features)]


@pytest.fixture(scope="module")
def digits():
    data = load_digits()
    features = raw_pixels(torch.from_numpy(data.images).float()[:, None] / 16)
    labels = torch.from_numpy(data.target).long()
    return features[:1000], labels[:1000], features[1000:], labels[1000:]


def test_both_probes_read_digits_from_their_pixels(digits):
    knn, whitened, linear = evaluate_features("raw pixels", *digits)
    assert whitened[:2] == ("raw pixels", "knn-whitened") and 90 < whitened.accuracy < 99
    assert (knn.features, knn.probe) == ("raw pixels", "knn") and 94 < knn.accuracy < 99
    assert (linear.features, linear.probe) == ("raw pixels", "linear") and 87 < linear.accuracy < 96
    assert knn.protocol == "k-NN k=20 T=0.07 cosine, frozen, final model, 1,000 train / 797 test"
    assert linear.protocol.endswith("final model, 1,000 train / 797 test, test used once")


def test_few_labels_and_neighbours_read_digits_from_their_pixels(digits):
    scores = evaluate_features("raw pixels", *digits, probes=["low-shot", "retrieval"])
    found = {score.probe: score.accuracy for score in scores}
    assert 30 < found["low-shot-1"] < found["low-shot-5"] < found["low-shot-25"] < 96
    assert 40 < found["retrieval-map"] < found["retrieval-recall-1"] < found["retrieval-recall-5"] <= 100
    assert found["retrieval-recall-1"] > 94  # the class of the nearest one: k-NN with k = 1


def test_shuffled_labels_give_chance(digits):
    train, labels, test, test_labels = digits
    shuffled = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))]
    for score in evaluate_features("raw pixels", train, shuffled, test, test_labels, probes=FROZEN):
        assert score.accuracy < 20 or score.probe.startswith("retrieval-recall-5")  # five guesses


def test_label_values_need_not_be_consecutive(digits):
    train, labels, test, test_labels = digits
    moved = evaluate_features("x", train, labels * 10 + 5, test, test_labels * 10 + 5, probes=FROZEN)
    assert moved == evaluate_features("x", *digits, probes=FROZEN)


def test_labels_are_checked(digits):
    train, labels, test, test_labels = digits
    with pytest.raises(DataError, match="only in train: 9; only in test: none"):
        evaluate_features("x", train, labels, test[test_labels < 9], test_labels[test_labels < 9])


def test_a_label_is_needed_for_every_image(digits):
    train, labels, test, test_labels = digits
    with pytest.raises(DataError, match="x: 797 feature vectors but 796 labels"):
        evaluate_features("x", train, labels, test, test_labels[1:])


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_features_that_are_not_finite_are_refused(digits, bad):
    train, labels, test, test_labels = digits
    damaged = train.clone()
    damaged[[3, 5], 7] = bad
    with pytest.raises(DataError, match="pretrained encoder: 2 of 1,000 feature vectors hold NaN or infinity"):
        evaluate_features("pretrained encoder", damaged, labels, test, test_labels)


def test_accuracies_are_those_of_float32_under_autocast(digits):
    expected = evaluate_features("x", *digits, probes=FROZEN)
    with torch.autocast("cpu", torch.bfloat16):
        assert evaluate_features("x", *digits, probes=FROZEN) == expected


def test_strengths_are_powers_of_ten_from_strong_to_weak_and_scale_with_the_width(digits):
    features = DenseFeatures("x", *digits)
    assert features.strengths == tuple(10.0**power for power in range(5, -2, -1)) and features.scale == 64


def test_every_train_example_can_be_the_nearest(digits):
    train, labels = digits[0][:50], digits[1][:50]
    similarity, rows = DenseFeatures("x", train, labels, train, labels).nearest(3)
    assert rows[:, 0].tolist() == list(range(50)) and similarity[:, 0].tolist() == pytest.approx([1.0] * 50)


def test_whitened_features_are_those_of_train_and_the_protocol_names_every_setting(digits):
    features = DenseFeatures("x", *digits, seed=3)
    white = features.whitened
    assert white is features.whitened and white.whitened.words.neighbours != white.words.plain
    covariance = torch.cov(white.train.T.double(), correction=0)
    torch.testing.assert_close(covariance, torch.eye(len(covariance), dtype=torch.float64), atol=1e-3, rtol=0)
    assert white.test.shape == (797, len(covariance)) and torch.equal(white.targets, features.targets)
    assert white.words.plain == (
        "frozen, PCA-whitened by 1,000 of train (at most 512 directions and 1 for 4 examples, variances above 0.0001 "
        "of the largest; seed 3), final model"
    )
    assert white.words.neighbours == f"{white.words.plain}, 1,000 train / 797 test"


def test_the_statistics_of_whitening_are_taken_from_a_sample_of_a_large_train_part(digits, monkeypatch):
    monkeypatch.setattr(room, "MOST_ROWS", 500)
    fitted = []
    fit = room.fit_whitening
    monkeypatch.setattr(room, "fit_whitening", lambda rows: fitted.append(rows) or fit(rows))
    white = DenseFeatures("x", *digits).whitened
    assert fitted[0].shape == (500, 64) and "PCA-whitened by 500 of train" in white.words.plain
    assert len(fitted[0].unique(dim=0)) == len(fitted[0]) and not torch.equal(fitted[0], digits[0][:500])


def test_whitening_lets_a_small_direction_with_the_class_be_heard():
    draw = torch.Generator().manual_seed(0)
    labels = torch.arange(400) % 2
    x = torch.randn(400, 10, generator=draw) * 10 + 100
    x[:, 0] = labels * 2.0 + torch.randn(400, generator=draw) * 0.2  # the class, hidden by the mean and the others
    plain, whitened = named(["knn"])[0].measure(DenseFeatures("x", x[:300], labels[:300], x[300:], labels[300:]))
    assert plain.value < 65 and whitened.value > 80


def test_features_that_do_not_vary_can_be_whitened_and_give_chance():
    x, labels = torch.full((40, 8), 3.0), torch.arange(40) % 4
    scores = evaluate_features("collapsed", x, labels, x, labels, probes=["knn", "retrieval"])
    found = {score.probe: score.value for score in scores}
    assert found["knn-whitened"] == pytest.approx(25) and found["retrieval-map-whitened"] == pytest.approx(25, abs=2)
