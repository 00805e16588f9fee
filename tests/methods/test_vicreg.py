"""VICReg: its loss against equations 1 to 6 as a slow loop, cases solved by hand, and lightly's."""

import pytest
import torch
from torch import Tensor

from selfstudy.methods.vicreg import VICReg, vicreg_loss
from selfstudy.ops.schedules import Progress
from tests.methods.small_encoders import ConvNet

SMALL = {"width": 8}


def _random(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def slow_terms(a: Tensor, b: Tensor, eps: float = 1e-4) -> tuple[float, float, float]:
    """The three terms entry by entry: eq. 5 over D, eq. 1 and 2 averaged over views, eq. 3 and 4 added over them."""
    n, d = a.shape
    invariance = sum(float((a[i, j] - b[i, j]) ** 2) for i in range(n) for j in range(d)) / (n * d)
    variance = covariance = 0.0
    for z in (a, b):
        mean = [sum(float(z[i, j]) for i in range(n)) / n for j in range(d)]
        for j in range(d):
            for k in range(d):
                c = sum((float(z[i, j]) - mean[j]) * (float(z[i, k]) - mean[k]) for i in range(n)) / (n - 1)
                if j == k:
                    variance += max(0.0, 1 - (c + eps) ** 0.5) / d / 2
                else:
                    covariance += c**2 / d
    return invariance, variance, covariance


@pytest.mark.parametrize("shape", [(8, 5), (5, 8)], ids=["more images", "more dimensions"])
def test_vicreg_is_the_papers_equation(shape):
    a, b = 0.7 * _random(*shape), 0.7 * _random(*shape, seed=1)
    s, v, c = slow_terms(a, b)
    assert min(s, v, c) > 0
    assert float(vicreg_loss(a, b)) == pytest.approx(25 * s + 25 * v + c, rel=1e-9)
    assert float(vicreg_loss(a, b, invariance=2, variance=3, covariance=5)) == pytest.approx(
        2 * s + 3 * v + 5 * c, rel=1e-9
    )


def test_vicreg_by_hand():
    """Equal views of two uncorrelated columns with a deviation above 1 have no loss; equal columns have 2 c^2."""
    a = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]], dtype=torch.float64)
    assert float(vicreg_loss(a, a)) == pytest.approx(0.0, abs=1e-9)
    twice = a[:, [0, 0]]  # the covariance of the two columns is 4/3, at two places of two dimensions, in two views
    assert float(vicreg_loss(twice, twice)) == pytest.approx(2 * (4 / 3) ** 2)


def test_by_hand_a_collapsed_batch_pays_for_its_missing_variance_alone():
    same = torch.ones(6, 4, dtype=torch.float64)
    assert float(vicreg_loss(same, same)) == pytest.approx(25 * (1 - 0.01))


def test_the_variance_term_alone_spreads_a_batch_that_lies_close_together():
    z = 0.1 * _random(6, 4)
    z.requires_grad_()
    vicreg_loss(z, z.detach().clone(), invariance=1e-12, covariance=1e-12).backward()
    centred = (z - z.mean(dim=0)).detach()
    assert (z.grad * centred).sum() < 0  # a step against the gradient makes deviations larger


def test_vicreg_does_not_see_a_common_shift_or_the_order_of_images_dimensions_and_views():
    a, b = _random(7, 4), _random(7, 4, seed=1)
    value = float(vicreg_loss(a, b))
    for first, second in [(a + 3, b + 3), (a.flip(0), b.flip(0)), (a.flip(1), b.flip(1)), (b, a)]:
        assert float(vicreg_loss(first, second)) == pytest.approx(value, rel=1e-9)


def test_only_the_invariance_term_compares_the_views():
    """Variance and covariance are of each branch: reordering one view's images leaves them."""
    a, b = _random(7, 4), _random(7, 4, seed=1)
    for second in (b, b.flip(0)):
        assert float(vicreg_loss(a, second, invariance=0)) == pytest.approx(
            float(vicreg_loss(a, b, invariance=0)), rel=1e-9
        )
    assert float(vicreg_loss(a, b)) != pytest.approx(float(vicreg_loss(a, b.flip(0))), rel=1e-3)


def test_vicreg_equals_lightlys():
    lightly = pytest.importorskip("lightly.loss")
    a, b = _random(16, 6), _random(16, 6, seed=1)
    assert float(vicreg_loss(a, b)) == pytest.approx(float(lightly.VICRegLoss()(a, b)), rel=1e-6)


def test_the_loss_stays_in_float32_for_half_precision():
    z = torch.randn(8, 4).to(torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        assert vicreg_loss(z, z).dtype == torch.float32


def test_each_view_is_encoded_and_projected_on_its_own_with_the_configured_weights():
    torch.manual_seed(0)
    weights = {"invariance_weight": 2.0, "variance_weight": 3.0, "covariance_weight": 5.0}
    method = VICReg(ConvNet(), VICReg.Config(**SMALL, **weights))
    views = [_random(6, 3, 16, 16, seed=seed, dtype=torch.float32) for seed in (0, 1)]
    a, b = (method.projector(method.encoder(view)) for view in views)
    wanted = vicreg_loss(a, b, invariance=2.0, variance=3.0, covariance=5.0)
    assert torch.equal(method(views, Progress(0, 1)).loss, wanted)
