"""W-MSE: its loss against the paper's as a slow loop, whitening, slices, a case solved by hand, and lightly's."""

import pytest
import torch
from torch import Tensor

from selfstudy.methods.w_mse import WMSE, w_mse_loss, whiten
from selfstudy.ops.schedules import Progress
from tests.methods.small_encoders import ConvNet

SMALL = {"hidden_dim": 16, "projection_dim": 2, "slice_size": 3}


def _random(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def slow_whiten(x: Tensor) -> Tensor:
    """W (v - mean) with W the inverse of the lower triangular root of the covariance, row by row."""
    n = len(x)
    mean = sum(x) / n
    covariance = sum(torch.outer(v - mean, v - mean) for v in x) / (n - 1)
    w = torch.linalg.inv(torch.linalg.cholesky(covariance))
    return torch.stack([w @ (v - mean) for v in x])


def slow_w_mse(z: Tensor, order: list[int], size: int) -> float:
    """Every slice of every view whitened; every pair of views of every image compared."""
    views, batch, _ = z.shape
    white = torch.zeros_like(z)
    for start in range(0, batch, size):
        part = order[start : start + size]
        for v in range(views):
            white[v, part] = slow_whiten(z[v, part])
    distances = [
        float((white[i, b] / white[i, b].norm() - white[j, b] / white[j, b].norm()).square().sum())
        for i in range(views)
        for j in range(i + 1, views)
        for b in range(batch)
    ]
    return sum(distances) / len(distances)


@pytest.mark.parametrize("views", [2, 4])
def test_w_mse_is_the_papers_loss_over_slices_and_pairs_of_views(views):
    z, order = _random(views, 16, 3), torch.randperm(16, generator=torch.Generator().manual_seed(1))
    loss = w_mse_loss(z, order, slice_size=8)
    assert float(loss) == pytest.approx(slow_w_mse(z, order.tolist(), 8), rel=1e-9)


def test_whitened_vectors_have_zero_mean_and_the_identity_as_covariance():
    white = whiten(3 + _random(2, 30, 4) @ _random(4, 4, seed=1), 0.0)
    torch.testing.assert_close(white.mean(dim=1), torch.zeros(2, 4, dtype=torch.float64), atol=1e-9, rtol=0)
    for view in white:
        torch.testing.assert_close(view.T.cov(), torch.eye(4, dtype=torch.float64), atol=1e-9, rtol=0)


def test_whitening_by_hand():
    """A diagonal covariance divides every column by its standard deviation."""
    x = torch.tensor([[2.0, 3.0], [2.0, -3.0], [-2.0, 3.0], [-2.0, -3.0]], dtype=torch.float64)
    std = (4 / 3) ** 0.5
    torch.testing.assert_close(whiten(x, 0.0), torch.sign(x) / std)


def test_equal_views_have_no_loss_and_opposite_ones_the_most():
    x, order = _random(16, 3), torch.arange(16)
    assert float(w_mse_loss(torch.stack([x, x]), order, slice_size=16)) == pytest.approx(0.0, abs=1e-9)
    assert float(w_mse_loss(torch.stack([x, -x]), order, slice_size=16)) == pytest.approx(4.0, rel=1e-9)


def test_shift_scale_and_lower_triangular_mixing_of_either_view_do_not_change_the_loss():
    """They keep the root triangular, and it is unique; so no dimension is favoured by its size."""
    z, order = _random(2, 16, 3), torch.arange(16)
    mixing = _random(3, 3, seed=2).tril(-1) + torch.diag(torch.tensor([1.0, 20.0, 0.1], dtype=torch.float64))
    value = float(w_mse_loss(z, order, slice_size=8))
    moved = torch.stack([5 + z[0] @ mixing.T, z[1]])
    assert float(w_mse_loss(moved, order, slice_size=8)) == pytest.approx(value, rel=1e-9)


def test_the_order_decides_who_shares_a_slice_and_nothing_else():
    z, order = _random(2, 16, 3), torch.randperm(16, generator=torch.Generator().manual_seed(1))
    value = float(w_mse_loss(z, order, slice_size=8))
    within = torch.cat([order[:8].flip(0), order[8:]])
    assert float(w_mse_loss(z, within, slice_size=8)) == pytest.approx(value, rel=1e-9)
    assert abs(float(w_mse_loss(z, order.roll(4), slice_size=8)) - value) > 1e-3


def test_unrelated_views_have_the_chance_loss():
    loss = w_mse_loss(_random(2, 4096, 8), torch.arange(4096), slice_size=128)
    assert float(loss) == pytest.approx(WMSE(ConvNet()).chance_loss(6)[0], abs=0.05)


@pytest.mark.parametrize(
    "x", [torch.ones(2, 6, 4), _random(2, 3, 4, dtype=torch.float32)], ids=["one point", "too few"]
)
def test_shrinkage_keeps_a_slice_without_a_root_finite(x):
    x = x.clone().requires_grad_()
    loss = w_mse_loss(x, torch.arange(x.shape[1]), slice_size=6, shrinkage=1e-4)
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(x.grad).all()


def test_with_the_default_shrinkage_float32_suffices_for_a_batch_that_is_nearly_flat():
    """Standard deviations from 1 to a millionth, in 16 directions that are no axis."""
    flat = _random(2, 64, 16) * torch.logspace(0, -6, 16) @ torch.linalg.qr(_random(16, 16, seed=1)).Q
    gradients = []
    for dtype in (torch.float32, torch.float64):
        z = flat.to(dtype).requires_grad_()
        w_mse_loss(z, torch.arange(64), slice_size=32, shrinkage=WMSE.Config().shrinkage).backward()
        gradients.append(z.grad.double())
    assert (gradients[0] - gradients[1]).norm() < 2e-3 * gradients[1].norm()


def test_w_mse_equals_lightlys_with_one_slice():
    lightly = pytest.importorskip("lightly.loss.wmse_loss")
    z = _random(2, 16, 4, dtype=torch.float32)
    theirs = lightly.WMSELoss(embedding_dim=4, w_size=16, track_running_stats=False)(z.flatten(0, 1))
    assert float(w_mse_loss(z, torch.arange(16), slice_size=16)) == pytest.approx(float(theirs.detach()), rel=1e-5)


def test_the_loss_stays_in_float32_for_half_precision():
    z = torch.randn(2, 8, 3).to(torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        assert w_mse_loss(z, torch.arange(8), slice_size=8).dtype == torch.float32


def test_slices_follow_the_images_own_numbers_and_every_slicing_is_another():
    torch.manual_seed(0)
    method = WMSE(ConvNet(), WMSE.Config(**SMALL, slicings=2, shrinkage=0.01))
    views = [_random(6, 3, 16, 16, seed=seed, dtype=torch.float32) for seed in (0, 1)]
    draws = torch.rand(6, 4, generator=torch.Generator().manual_seed(3))
    projected = method.projector(torch.cat([method.encoder(view) for view in views])).view(2, 6, 2)
    orders = [draws[:, k].argsort() for k in (0, 1)]
    losses = [w_mse_loss(projected, order, slice_size=3, shrinkage=0.01) for order in orders]
    assert set(orders[0][:3].tolist()) != set(orders[1][:3].tolist())
    torch.testing.assert_close(method([*views, draws], Progress(0, 1)).loss, sum(losses) / 2)
