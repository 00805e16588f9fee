"""Barlow Twins: its loss against equations 1 and 2 as a slow loop, cases solved by hand, and lightly's."""

import pytest
import torch
from torch import Tensor

from selfstudy.methods.barlow_twins import barlow_twins_loss

SMALL = {"hidden_dim": 16, "projection_dim": 8}


def _random(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def slow_barlow(a: Tensor, b: Tensor, weight: float, eps: float = 1e-5) -> float:
    """Barlow Twins eq. 1 and 2, entry by entry, divided by D."""
    n, d = a.shape
    loss = 0.0
    for i in range(d):
        for j in range(d):
            x, y = a[:, i] - a[:, i].mean(), b[:, j] - b[:, j].mean()
            c = float((x * y).mean() / ((x.square().mean() + eps).sqrt() * (y.square().mean() + eps).sqrt()))
            loss += (1 - c) ** 2 if i == j else weight * c**2
    return loss / d


def test_barlow_twins_is_the_papers_equation():
    a, b = _random(8, 5), _random(8, 5, seed=1)
    assert float(barlow_twins_loss(a, b, 0.0051)) == pytest.approx(slow_barlow(a, b, 0.0051), rel=1e-9)


def test_barlow_twins_by_hand():
    """Two identical, uncorrelated columns have the identity as correlation and (except for epsilon) no loss."""
    a = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]], dtype=torch.float64)
    assert float(barlow_twins_loss(a, a, 1.0)) == pytest.approx(0.0, abs=1e-9)
    twice = a[:, [0, 0]]  # C is all ones: no invariance term, two off-diagonal ones over two dimensions
    assert float(barlow_twins_loss(twice, twice, 1.0)) == pytest.approx(1.0, abs=1e-4)


def test_barlow_twins_does_not_see_shift_and_scale_of_a_dimension():
    a, b = 10 * _random(16, 5), 10 * _random(16, 5, seed=1)
    shifted = barlow_twins_loss(a * torch.tensor([1.0, 2, 3, 4, 5]) + 3, b, 0.01)
    assert float(shifted) == pytest.approx(float(barlow_twins_loss(a, b, 0.01)), rel=1e-4)


def test_barlow_twins_equals_lightlys_divided_by_the_dimensions():
    """lightly leaves out the division by D; its correlation uses BatchNorm, whose epsilon is ours."""
    lightly = pytest.importorskip("lightly.loss")
    a, b = _random(16, 6), _random(16, 6, seed=1)
    theirs = lightly.BarlowTwinsLoss(lambda_param=0.0051)(a, b)
    assert float(barlow_twins_loss(a, b, 0.0051)) == pytest.approx(float(theirs) / 6, rel=1e-6)


def test_the_loss_stays_in_float32_for_half_precision():
    z = torch.randn(8, 4).to(torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        assert barlow_twins_loss(z, z, 0.1).dtype == torch.float32
