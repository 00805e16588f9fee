import pytest
import torch

from selfstudy.ops import whitening
from selfstudy.ops.whitening import MOST_DIRECTIONS, fit_whitening


def correlated(n, d, rank=None, seed=0):
    """Features (n, d) of the given rank around a mean far from zero; their variances differ."""
    draw = torch.Generator().manual_seed(seed)
    rank = rank or d
    sources = torch.randn(n, rank, generator=draw) * torch.linspace(3.0, 0.5, rank)
    return sources @ torch.randn(rank, d, generator=draw) + 5.0


def covariance(x):
    return torch.cov(x.double().T, correction=0)


def test_the_whitened_covariance_is_the_identity_and_the_mean_is_zero():
    x = correlated(400, 12)
    white = fit_whitening(x).apply(x)
    assert white.shape == (400, 12) and white.dtype == torch.float32
    torch.testing.assert_close(covariance(white), torch.eye(12, dtype=torch.float64), atol=1e-3, rtol=0)
    assert float(white.mean(dim=0).abs().max()) < 1e-3


def test_other_rows_go_through_the_same_map():
    x, other = correlated(400, 12), correlated(7, 12, seed=1)
    fitted = fit_whitening(x)
    expected = (other - x.mean(dim=0)) @ fitted.projection
    torch.testing.assert_close(fitted.apply(other), expected, atol=1e-4, rtol=1e-4)


def test_distances_are_those_of_mahalanobis():
    x = correlated(500, 6)
    a, b = fit_whitening(x).apply(x[:2]).double()
    difference = (x[0] - x[1]).double()
    expected = difference @ torch.linalg.inv(covariance(x)) @ difference
    assert float((a - b).square().sum()) == pytest.approx(float(expected), rel=1e-3)


def test_directions_are_ordered_by_variance_and_at_most_the_number_asked_for_is_kept():
    x = torch.randn(3000, 4, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 8.0, 2.0, 4.0])
    fitted = fit_whitening(x, most=2)
    assert fitted.projection.abs().argmax(dim=0).tolist() == [1, 3]
    torch.testing.assert_close(fitted.projection.norm(dim=0), torch.tensor([1 / 8, 1 / 4]), rtol=0.05, atol=0)


def test_a_constant_column_is_no_direction():
    x = correlated(200, 5)
    x[:, 2] = 7.0
    fitted = fit_whitening(x)
    assert fitted.projection.shape == (5, 4) and float(fitted.projection[2].abs().max()) < 1e-4


@pytest.mark.parametrize(("n", "d", "rank", "kept"), [(300, 20, 6, 6), (40, 90, 6, 6), (40, 30, 6, 6)])
def test_only_directions_that_the_examples_use_are_kept(n, d, rank, kept):
    x = correlated(n, d, rank)
    white = fit_whitening(x).apply(x)
    assert white.shape == (n, kept)
    torch.testing.assert_close(covariance(white), torch.eye(kept, dtype=torch.float64), atol=5e-3, rtol=0)


@pytest.mark.parametrize(("n", "kept"), [(3, 1), (40, 10), (43, 10)])
def test_every_direction_rests_on_four_examples(n, kept):
    assert fit_whitening(correlated(n, 90)).projection.shape == (90, kept)


def test_directions_below_the_floor_are_dropped():
    x = torch.randn(5000, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 0.2, 0.05])
    assert fit_whitening(x, floor=1e-3).projection.shape == (3, 3)
    assert fit_whitening(x, floor=1e-2).projection.shape == (3, 2)


def test_equal_rows_have_no_direction_even_where_rounding_differs():
    assert fit_whitening(torch.full((50, 8), 3.0)).projection.shape == (8, 0)
    assert fit_whitening(torch.zeros(50, 8)).apply(torch.zeros(2, 8)).shape == (2, 0)
    rounded = 1000.0 + 1e-4 * torch.randn(50, 8, generator=torch.Generator().manual_seed(0))
    assert fit_whitening(rounded).projection.shape == (8, 0)


def test_many_dimensions_keep_the_same_largest_directions_as_a_full_decomposition(monkeypatch):
    x = correlated(300, 200, rank=30)
    x += 1e-3 * torch.randn(x.shape, generator=torch.Generator().manual_seed(2))
    full = fit_whitening(x, most=10).projection
    monkeypatch.setattr(whitening, "_EXACT", 0)
    found = fit_whitening(x, most=10).projection
    torch.testing.assert_close(found @ found.T, full @ full.T, atol=1e-5, rtol=1e-3)


def test_the_random_state_of_the_caller_stays_as_it_is(monkeypatch):
    monkeypatch.setattr(whitening, "_EXACT", 0)
    x = correlated(200, 100, rank=20)
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    fit_whitening(x, most=5)
    assert torch.equal(torch.rand(1), expected)


def test_half_precision_and_autocast_change_nothing():
    x = correlated(100, 6).bfloat16()
    expected = fit_whitening(x.float()).apply(x.float())
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(fit_whitening(x).apply(x), expected)


def test_the_default_number_of_directions_is_that_of_the_protocol():
    assert MOST_DIRECTIONS == 512
    x = torch.randn(2052, 514, generator=torch.Generator().manual_seed(0))
    assert fit_whitening(x).projection.shape == (514, 512)
