"""Statistics of embeddings, against cases by hand and slow loops."""

import itertools
import math

import pytest
import torch
from torch.nn import functional

from selfstudy.ops.spread import alignment, dimension_std, effective_rank, uniformity


def normal(rows, dim, *, seed=0):
    return torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed))


def test_the_effective_rank_of_orthogonal_directions_is_their_number():
    orthogonal = torch.linalg.qr(normal(64, 64))[0]
    assert effective_rank(orthogonal) == pytest.approx(64, rel=1e-5)
    assert effective_rank(torch.cat([orthogonal[:8]] * 5)) == pytest.approx(8, rel=1e-3)


def test_the_effective_rank_of_one_line_is_one_and_of_nothing_is_zero():
    assert effective_rank(normal(50, 1) @ normal(1, 512)) == pytest.approx(1, abs=1e-2)
    assert effective_rank(torch.ones(50, 20)) == pytest.approx(1, abs=1e-5)
    assert effective_rank(torch.zeros(50, 20)) == 0.0


def test_the_effective_rank_of_two_unequal_directions_is_their_perplexity():
    x = torch.diag(torch.tensor([3.0, 1.0]))  # shares 3/4 and 1/4
    assert effective_rank(x) == pytest.approx(math.exp(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25))), rel=1e-5)


def test_the_effective_rank_is_that_of_the_singular_values_tall_or_wide():
    for x in (normal(100, 30), normal(30, 100)):
        shares = torch.linalg.svdvals(x.double())
        shares = shares / shares.sum()
        assert effective_rank(x) == pytest.approx(float((-shares * shares.log()).sum().exp()), rel=1e-6)


def test_the_effective_rank_ignores_scale_and_rotation():
    x, rotation = normal(100, 30), torch.linalg.qr(normal(30, 30, seed=1))[0]
    assert effective_rank(100 * x @ rotation) == pytest.approx(effective_rank(x), rel=1e-4)


def test_dimension_std_is_one_when_spread_and_zero_when_constant():
    assert dimension_std(normal(4096, 128)) == pytest.approx(1, abs=0.02)
    assert dimension_std(torch.ones(64, 128)) == pytest.approx(0, abs=1e-5)


def test_dimension_std_of_a_hand_case():
    x = torch.tensor([[5.0, 0.0], [0.0, 2.0]])  # normalised: each dimension is 1 and 0, std 1/2
    assert dimension_std(x) == pytest.approx(0.5 * math.sqrt(2), rel=1e-6)


def test_alignment_of_hand_cases():
    x = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    assert alignment(x, 7 * x) == pytest.approx(0, abs=1e-6)
    assert alignment(x, -x) == pytest.approx(4, rel=1e-6)
    assert alignment(x, x.flip(1)) == pytest.approx(2, rel=1e-6)


def test_uniformity_of_hand_cases():
    assert uniformity(torch.tensor([[1.0, 0.0], [-3.0, 0.0]])) == pytest.approx(-8, rel=1e-5)  # distance 2
    assert uniformity(torch.ones(5, 3)) == pytest.approx(0, abs=1e-5)
    assert uniformity(torch.zeros(5, 3)) == pytest.approx(0, abs=1e-5)
    corners = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])  # squared distances 2, 4, 2
    assert uniformity(corners) == pytest.approx(math.log((2 * math.exp(-4) + math.exp(-8)) / 3), rel=1e-5)


def test_uniformity_is_the_slow_loop_over_pairs():
    x = functional.normalize(normal(20, 5).double(), dim=1)
    pairs = [math.exp(-2 * float((a - b).square().sum())) for a, b in itertools.combinations(x, 2)]
    assert uniformity(normal(20, 5)) == pytest.approx(math.log(sum(pairs) / len(pairs)), rel=1e-5)


def test_statistics_are_float32_under_autocast():
    x = normal(64, 32)
    expected = (effective_rank(x), dimension_std(x), uniformity(x), alignment(x, x.flip(0)))
    with torch.autocast("cpu", torch.bfloat16):
        assert (effective_rank(x), dimension_std(x), uniformity(x), alignment(x, x.flip(0))) == expected


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_the_effective_rank_of_what_is_not_finite_is_nan(bad):
    x = normal(64, 8)
    x[3, 2] = bad
    assert math.isnan(effective_rank(x))


def test_the_effective_rank_of_tiny_values_is_that_of_larger_ones():
    assert effective_rank(1e-6 * normal(50, 8)) == pytest.approx(effective_rank(normal(50, 8)), rel=1e-4)


def test_dimension_std_is_the_slow_loop_over_dimensions():
    x = torch.tensor([[3.0, 4.0, 0.0], [0.0, 0.0, 2.0]])  # normalised: (0.6, 0.8, 0) and (0, 0, 1)
    stds = [0.3, 0.4, 0.5]
    assert dimension_std(x) == pytest.approx(sum(stds) / 3 * math.sqrt(3), rel=1e-6)


def test_float64_embeddings_keep_their_precision():
    x = normal(4, 3).double()
    assert 0 < alignment(x, x + 1e-9 * normal(4, 3, seed=1)) < 1e-15
