import numpy as np
import pytest
import torch
from scipy import stats

from selfstudy.errors import DataError
from selfstudy.probes.sts import Similarities, measure, of_embeddings, spearman


def similarity_score(*embedded):
    (score,) = measure(of_embeddings(*embedded))
    return score


def slow_spearman(first, second):
    """Ranks by counting who is smaller, then Pearson."""
    ranks = [
        [sum(y < x for y in list_) + (sum(y == x for y in list_) + 1) / 2 for x in list_] for list_ in (first, second)
    ]  # noqa: E501
    return np.corrcoef(ranks)[0, 1]


def test_a_hand_case_without_ties():
    # squared rank differences 1, 1, 1, 1: 1 - 6 * 4 / (4 * 15)
    assert spearman(np.array([1.0, 2, 3, 4]), np.array([20.0, 10, 400, 30])) == pytest.approx(0.6)


def test_a_hand_case_with_ties():
    # ranks 1.5 1.5 3 and 1 2 3: covariance 1.5, variances 1.5 and 2
    assert spearman(np.array([5, 5, 9]), np.array([1, 2, 3])) == pytest.approx(1.5 / np.sqrt(1.5 * 2))


@pytest.mark.parametrize("levels", [2, 5, 10**6])
def test_it_equals_the_slow_loop_and_scipy(levels):
    draw = np.random.default_rng(levels)
    first, second = draw.integers(0, levels, (2, 60)).astype(float)
    second += 0.4 * first.round()
    assert spearman(first, second) == pytest.approx(slow_spearman(first, second), abs=1e-12)
    assert spearman(first, second) == pytest.approx(stats.spearmanr(first, second).statistic, abs=1e-12)


def test_only_the_order_counts_and_its_reverse_turns_the_sign():
    draw = np.random.default_rng(0)
    first, second = draw.normal(size=(2, 50))
    expected = spearman(first, second)
    assert spearman(np.exp(3 * first), second**3) == pytest.approx(expected, abs=1e-12)
    assert spearman(second, -first) == pytest.approx(-expected, abs=1e-12)
    assert spearman(first, first) == pytest.approx(1) and spearman(first, -first) == pytest.approx(-1)


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ([1.0, 1.0, 1.0], [1.0, 2.0, 3.0], r"all 3 numbers are equal \(1\)"),
        ([1.0, 2.0, 3.0], [4.0, 4.0, 4.0], r"all 3 numbers are equal \(4\)"),
        ([1.0, np.nan, 3.0], [1.0, 2.0, 3.0], "one is NaN or infinity"),
        ([1.0, 2.0], [1.0, 2.0, 3.0], r"of \(2,\) and \(3,\) numbers is not defined"),
        ([1.0], [1.0], r"of \(1,\) and \(1,\) numbers is not defined"),
    ],
)
def test_what_has_no_rank_correlation_is_refused(first, second, message):
    with pytest.raises(DataError, match=message):
        spearman(np.array(first), np.array(second))


def test_the_score_is_that_of_the_cosines_times_a_hundred():
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 40, 8, generator=generator)
    scores = np.random.default_rng(0).integers(0, 6, 40)
    cosines = [float(x @ y / x.norm() / y.norm()) for x, y in zip(a.double(), b.double(), strict=True)]
    score = similarity_score("pretrained encoder", a, b, scores)
    assert score.accuracy == pytest.approx(100 * slow_spearman(cosines, scores.tolist()), abs=1e-9)
    assert score[:2] == ("pretrained encoder", "sts") and score.unit == ""
    assert score.protocol == (
        "STS: Spearman correlation x 100 with human scores of the cosine of both embeddings, frozen, final model, "
        "40 pairs"
    )


def test_lengths_and_the_order_within_a_pair_do_not_matter_but_pairing_does():
    a, b = torch.randn(2, 30, 4, generator=torch.Generator().manual_seed(1))
    scores = np.arange(30.0)
    expected = similarity_score("x", a, b, scores).accuracy
    lengths = torch.linspace(0.01, 50, 30)[:, None]
    assert similarity_score("x", b * lengths, a * 7, scores).accuracy == pytest.approx(expected, abs=1e-9)
    assert similarity_score("x", a, b.flip(0), scores).accuracy != pytest.approx(expected, abs=1)


def test_angles_in_the_order_of_the_scores_are_perfect():
    angles = torch.linspace(3, 0, 20)
    a = torch.tensor([1.0, 0.0]).expand(20, 2)
    b = torch.stack([angles.cos(), angles.sin()], dim=1)
    assert similarity_score("x", a, b, np.arange(20)).accuracy == pytest.approx(100)


def test_autocast_changes_nothing():
    a, b = torch.randn(2, 30, 64, generator=torch.Generator().manual_seed(1))
    expected = similarity_score("x", a, b, np.arange(30))
    with torch.autocast("cpu", torch.bfloat16):
        assert similarity_score("x", a, b, np.arange(30)) == expected


def test_an_error_names_the_line_of_the_table():
    same, other = torch.ones(5, 3), torch.randn(5, 3)
    with pytest.raises(DataError, match="untrained encoder: all 5 numbers are equal"):
        similarity_score("untrained encoder", same, same, np.arange(5))
    with pytest.raises(DataError, match="x: a rank correlation needs finite numbers"):
        similarity_score("x", other, other * torch.nan, np.arange(5))
    with pytest.raises(DataError, match=r"x: embeddings \(5, 3\) of first and \(4, 3\) of second"):
        similarity_score("x", other, other[1:], np.arange(5))


def test_a_row_may_say_what_its_similarities_are():
    (score,) = measure(Similarities("TF-IDF", np.array([0.2, 0.1]), np.array([5, 0]), "bags of words"))
    assert score.accuracy == pytest.approx(100) and score.features == "TF-IDF"
    assert score.protocol == "STS: Spearman correlation x 100 with human scores of bags of words, 2 pairs"
