import time

import pytest
import torch
from sklearn.linear_model import LogisticRegression

from selfstudy.probes import linear
from selfstudy.probes.linear import L2_PATH, linear_probe, logistic_regression


def problem(n, dim=20, classes=4, *, seed=0):
    """Correlated, badly scaled features with overlapping classes."""
    generator = torch.Generator().manual_seed(7)
    means, mix = torch.randn(classes, dim, generator=generator), torch.randn(dim, dim, generator=generator)
    generator.manual_seed(seed)
    labels = torch.randint(0, classes, (n,), generator=generator)
    features = (0.3 * means[labels] + torch.randn(n, dim, generator=generator)) @ mix
    return features * torch.logspace(-3, 3, dim) + 5.0, labels


def standardised(features):
    x = (features - features.mean(0)) / features.std(0, correction=0)
    return torch.cat([x, torch.ones(len(x), 1)], dim=1)


def fit(x, labels, l2, classes):
    covariance = x.T @ x / len(x)
    return logistic_regression(x, labels, l2, start=torch.zeros(x.shape[1], classes), covariance=covariance)


@pytest.mark.parametrize("l2", [0.1, 10.0, 1000.0])
def test_weights_equal_those_of_scikit_learn_for_the_same_l2(l2):
    features, labels = problem(600)
    x = standardised(features)
    weights = fit(x, labels, l2, 4)
    reference = LogisticRegression(C=1 / l2, tol=1e-8, max_iter=5000).fit(x[:, :-1].double().numpy(), labels.numpy())
    torch.testing.assert_close(weights[:-1].double().T, torch.from_numpy(reference.coef_), atol=3e-3, rtol=0)
    ours, theirs = (x @ weights).softmax(1), torch.from_numpy(reference.predict_proba(x[:, :-1].double().numpy()))
    torch.testing.assert_close(ours.double(), theirs, atol=2e-3, rtol=0)


def test_the_solution_does_not_depend_on_the_preconditioner_or_the_start():
    features, labels = problem(400)
    x = standardised(features)
    plain = logistic_regression(x, labels, 10.0, start=torch.randn(21, 4), covariance=torch.eye(21))
    torch.testing.assert_close(plain[:-1], fit(x, labels, 10.0, 4)[:-1], atol=3e-3, rtol=0)


def test_the_gradient_is_that_of_autograd():
    features, labels = problem(50)
    x, weights = standardised(features), torch.randn(21, 4, requires_grad=True)
    expected = torch.nn.functional.cross_entropy(x @ weights, labels)
    expected.backward()
    loss, gradient = linear._mean_cross_entropy(x, labels, weights.detach())
    torch.testing.assert_close(gradient, weights.grad)
    assert loss == pytest.approx(expected.item(), rel=1e-5)


def test_accuracy_agrees_with_scikit_learn_within_half_a_point():
    train, train_labels = problem(2000)
    test, test_labels = problem(2000, seed=1)
    result = linear_probe(train, train_labels, test, test_labels)
    mean, std = train.mean(0), train.std(0, correction=0)
    reference = LogisticRegression(C=1 / result.l2, max_iter=2000).fit(((train - mean) / std).numpy(), train_labels)
    expected = 100 * reference.score(((test - mean) / std).numpy(), test_labels)
    assert result.accuracy == pytest.approx(expected, abs=0.5)
    assert 40 < result.accuracy < 95  # a problem on which agreement means something
    assert result.l2 in L2_PATH and result.seconds > 0


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


def test_the_held_out_part_is_a_tenth_of_every_class_and_depends_on_the_seed_alone():
    labels = torch.tensor([0] * 100 + [1] * 50 + [2] * 3 + [3])
    mask = linear._held_out(labels, 0)
    assert [int(mask[labels == c].sum()) for c in range(4)] == [10, 5, 1, 0]
    torch.manual_seed(5)
    assert torch.equal(mask, linear._held_out(labels, 0))
    assert not torch.equal(mask, linear._held_out(labels, 1))


def test_many_numbers_walk_the_path_on_part_of_the_images_and_the_protocol_says_so(monkeypatch):
    train, labels = problem(2000)
    whole = linear_probe(train, labels, train, labels)
    monkeypatch.setattr(linear, "_PATH_ELEMENTS", 500 * 21)
    part = linear_probe(train, labels, train, labels)
    assert "a held-out 10 % of 500 train images (seed 0)" in part.protocol
    assert part.accuracy == pytest.approx(whole.accuracy, abs=2)


def test_label_values_need_not_be_consecutive():
    train, labels = problem(200)
    assert (
        linear_probe(train, labels * 10 + 5, train, labels * 10 + 5)[:2]
        == linear_probe(train, labels, train, labels)[:2]
    )


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
    assert first[:3] == second[:3]


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
