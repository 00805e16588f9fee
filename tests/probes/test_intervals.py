import math

import numpy as np
import pytest
import torch
from scipy import stats

from selfstudy.probes import low_shot, retrieval, sts
from selfstudy.probes.features import DenseFeatures
from selfstudy.probes.intervals import RESAMPLES, compared, interval_of, interval_of_mean, resamples
from selfstudy.probes.results import Ahead, Score, wilson


def score(features, right, *, free=False, probe="knn"):
    """A score with an answer, 0 or 1, for each test example."""
    return Score(features, probe, 100 * float(np.mean(right)), "p", free=free, right=bytes(right))


def test_draws_are_with_replacement_as_long_as_the_data_and_the_same_every_time():
    first, second = list(resamples(50)), list(resamples(50))
    assert len(first) == RESAMPLES and all(len(rows) == 50 for rows in first)
    assert np.array_equal(first, second) and not np.array_equal(first[0], first[1])
    assert len(np.unique(first[0])) < 50 and set(np.unique(first)) == set(range(50))


def test_the_interval_of_a_mean_is_that_of_the_normal_approximation_where_it_holds():
    values = np.random.default_rng(1).normal(7.0, 3.0, 2000)
    half = 1.96 * values.std() / math.sqrt(2000)
    assert interval_of_mean(values) == pytest.approx((values.mean() - half, values.mean() + half), abs=half / 10)


def test_the_interval_of_a_share_is_near_that_of_wilson():
    right = np.arange(1000) % 10 < 7
    assert interval_of_mean(100.0 * right) == pytest.approx(wilson(70.0, 1000), abs=0.3)


def test_draws_without_a_statistic_are_left_out():
    assert interval_of(lambda rows: math.nan if rows[0] < 25 else 2.0, 50) == (2.0, 2.0)
    assert all(math.isnan(end) for end in interval_of(lambda rows: math.nan, 50))


def test_a_difference_is_paired_and_to_the_best_free_row():
    draw = np.random.default_rng(0)
    ours = draw.random(1000) < 0.7
    near = ours ^ (draw.random(1000) < 0.05)  # other answers to few examples
    far = draw.random(1000) < 0.3
    scores = [score("far", far, free=True), score("near", near, free=True), score("encoder", ours)]
    *free, ours_compared = compared(scores)
    assert free == scores[:2] and ours_compared.ahead.row == "near"
    value, low, high, _ = ours_compared.ahead
    assert value == pytest.approx(scores[2].value - scores[1].value) and low < value < high
    assert high - low < 4  # independent intervals of 1,000 answers would give 8


def test_equal_answers_are_a_difference_of_zero_without_width():
    right = [1, 0, 1, 1]
    assert compared([score("a", right, free=True), score("b", right)])[1].ahead == Ahead(0.0, 0.0, 0.0, "a")


@pytest.mark.parametrize(
    "free",
    [
        score("a", [1, 0, 1], free=True),
        score("a", [1, 0, 1, 1]),
        score("a", [1, 0, 1, 1], free=True, probe="linear"),
        score("a", [1, 0, 1, 1], free=True)._replace(right=None),
    ],
    ids=["another test part", "not free", "another probe", "answers unknown"],
)
def test_there_is_no_difference_to_what_cannot_be_paired(free):
    assert compared([free, score("b", [1, 1, 1, 0])])[1].ahead is None


def problem(n, m):
    draw = torch.Generator().manual_seed(0)
    labels = torch.arange(n + m) % 4
    x = torch.randn(n + m, 6, generator=draw) + 0.5 * torch.nn.functional.one_hot(labels, 6)
    return DenseFeatures("x", x[:n], labels[:n], x[n:], labels[n:])


def test_every_figure_of_retrieval_and_of_few_labels_has_an_interval_around_it():
    for one in [*retrieval.measure(problem(200, 100)), *low_shot.measure(problem(200, 100))]:
        low, high = one.interval
        assert low < one.value < high and high - low < 25 and one.right is None


def test_a_correlation_has_the_interval_of_its_pairs():
    draw = np.random.default_rng(0)
    people = draw.random(400)
    (one,) = sts.measure(sts.Similarities("x", people + 0.3 * draw.random(400), people))
    low, high = one.interval
    assert low < one.value < high
    fisher = 100 * np.tanh(np.arctanh(one.value / 100) + np.array([-1, 1]) * 1.96 * 1.06 / math.sqrt(397))
    assert (low, high) == pytest.approx(tuple(fisher), abs=1.5)


def test_the_correlation_of_a_draw_is_that_of_scipy_and_none_where_all_are_equal():
    draw = np.random.default_rng(0)
    first, second = draw.integers(0, 5, 60), draw.integers(0, 5, 60)
    assert sts._of_ranks(first, second) == pytest.approx(stats.spearmanr(first, second).statistic)
    assert math.isnan(sts._of_ranks(np.ones(5), second[:5]))
