"""SIGReg against the paper's statistic as a slow loop, cases solved by hand, and the authors' and lightly's values."""

import cmath
import math

import pytest
import torch
from torch import Tensor

from selfstudy.ops.random import generator
from selfstudy.ops.sigreg import sigreg, unit_slices


def _random(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def _slices(dim, count, seed=0):
    return unit_slices(dim, count, generator(seed)).double()


def slow_sigreg(points: Tensor, slices: Tensor, knots: int = 17, limit: float = 3.0) -> float:
    """N times the integral over the whole line from -limit to limit, direction by direction, knot by knot."""
    total = 0.0
    for direction in slices.T:
        places, step = [float(point @ direction) for point in points], limit / (knots - 1)
        for k in range(-(knots - 1), knots):
            t = k * step
            mean = sum(cmath.exp(1j * t * place) for place in places) / len(places)
            integrand = abs(mean - math.exp(-(t**2) / 2)) ** 2 * math.exp(-(t**2) / 2)
            total += integrand * step * (0.5 if abs(k) == knots - 1 else 1) * len(places)
    return total / slices.shape[1]


def test_sigreg_is_the_papers_statistic():
    points, slices = 2 + _random(9, 4), _slices(4, 5)
    assert float(sigreg(points, slices)) == pytest.approx(slow_sigreg(points, slices), rel=1e-9)
    coarse = sigreg(points, slices, knots=4, limit=2.0)
    assert float(coarse) == pytest.approx(slow_sigreg(points, slices, 4, 2.0), rel=1e-9)


def test_sigreg_by_hand():
    """Two knots, at 0 where nothing can differ and at 1, one trapezium on either side; seven points at the mean."""
    value = sigreg(torch.zeros(7, 3, dtype=torch.float64), _slices(3, 2), knots=2, limit=1.0)
    assert float(value) == pytest.approx(7 * (1 - math.exp(-0.5)) ** 2 * math.exp(-0.5), rel=1e-9)


@pytest.mark.parametrize("count", [64, 512])
def test_gaussian_samples_have_the_expected_value_at_any_size(count):
    """The integral of (1 - exp(-t^2)) exp(-t^2 / 2), which is 1.05 on [-3, 3]."""
    assert float(sigreg(_random(10, count, 8), _slices(8, 32))) == pytest.approx(1.05, abs=0.15)


@pytest.mark.parametrize(
    "fault",
    [
        lambda x: x * 0,  # all in one place
        lambda x: x * torch.tensor([1.0] + [0.0] * 7),  # on a line
        lambda x: x * 0.5,  # too narrow
        lambda x: x * 2,  # too wide
        lambda x: x + 0.5,  # off the origin
        lambda x: x * 0.1 + x[:, :1].sign(),  # two heaps
    ],
)
def test_another_distribution_has_a_far_larger_value(fault):
    x, slices = _random(512, 8), _slices(8, 64)
    assert float(sigreg(fault(x), slices)) > 8 * float(sigreg(x, slices))


def test_points_and_slices_may_be_rotated_together():
    points, slices, rotation = 1 + _random(20, 5), _slices(5, 6), torch.linalg.qr(_random(5, 5, seed=3)).Q
    turned = sigreg(points @ rotation, rotation.T @ slices)
    assert float(turned) == pytest.approx(float(sigreg(points, slices)), rel=1e-9)
    assert float(sigreg(points @ rotation, slices)) != pytest.approx(float(turned), rel=1e-3)


def test_the_order_of_points_and_the_sign_of_a_slice_do_not_matter():
    points, slices = _random(20, 5), _slices(5, 6)
    assert float(sigreg(points.flip(0), -slices)) == pytest.approx(float(sigreg(points, slices)), rel=1e-9)


def test_several_clouds_are_tested_apart_and_averaged():
    clouds, slices = _random(3, 20, 5), _slices(5, 6)
    apart = torch.stack([sigreg(cloud, slices) for cloud in clouds]).mean()
    torch.testing.assert_close(sigreg(clouds, slices), apart)
    assert float(sigreg(clouds.flatten(0, 1), slices)) != pytest.approx(float(apart), rel=1e-3)


def test_the_gradient_leads_to_the_gaussian():
    points, slices = (0.3 * _random(64, 4)).requires_grad_(True), _slices(4, 64)
    before = sigreg(points, slices)
    (gradient,) = torch.autograd.grad(before, points)
    narrow = points.detach()
    assert float((gradient * narrow).sum()) < 0  # a narrow cloud is to grow
    assert float(sigreg(narrow - gradient / gradient.norm(), slices)) < float(before.detach())


def test_slices_have_length_one_and_follow_their_generator():
    first, again, other = (unit_slices(5, 4, generator(7, step)) for step in (1, 1, 2))
    torch.testing.assert_close(first.norm(dim=0), torch.ones(4))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_sigreg_equals_lightlys(monkeypatch):
    lightly = pytest.importorskip("lightly.loss.lejepa_loss")
    theirs, slices = lightly.SIGReg(num_vectors=6), _slices(5, 6).float()
    monkeypatch.setattr(theirs, "_generate_unit_vectors", lambda *_: slices)
    clouds = _random(2, 20, 5, dtype=torch.float32)
    assert float(sigreg(clouds, slices)) == pytest.approx(float(theirs(clouds)), rel=1e-5)


def test_sigreg_stays_in_float32_under_autocast():
    points, slices = _random(64, 4, dtype=torch.float32), _slices(4, 8).float()
    with torch.autocast("cpu", torch.bfloat16):
        assert sigreg(points.to(torch.bfloat16), slices).dtype == torch.float32
        inside = sigreg(points, slices)
    assert torch.equal(inside, sigreg(points, slices))
