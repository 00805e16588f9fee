"""LeJEPA: its first term as a slow loop (the second is in tests/ops/test_sigreg.py), and what goes into both."""

import pytest
import torch
from torch import Tensor

from selfstudy.methods.lejepa import LeJEPA, invariance
from selfstudy.ops.schedules import Progress
from selfstudy.ops.sigreg import sigreg
from tests.methods.small_encoders import ConvNet

SMALL = {"hidden_dim": 16, "projection_dim": 8, "slices": 16}
NOW = Progress(3, 10)


def _random(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def slow_invariance(z: Tensor, large: int) -> float:
    """Image by image, view by view, dimension by dimension."""
    views, batch, dim = z.shape
    total = 0.0
    for i in range(batch):
        for d in range(dim):
            centre = sum(float(z[v, i, d]) for v in range(large)) / large
            total += sum((float(z[v, i, d]) - centre) ** 2 for v in range(views))
    return total / (views * batch * dim)


@pytest.mark.parametrize("large", [2, 5])
def test_invariance_is_the_papers_term(large):
    z = _random(5, 3, 4)
    assert float(invariance(z, large)) == pytest.approx(slow_invariance(z, large), rel=1e-9)


def test_invariance_by_hand():
    """Large views at 0 and 2 meet at 1, a small one at 4 is 3 away: (1 + 1 + 9) / 3."""
    z = torch.tensor([0.0, 2.0, 4.0]).view(3, 1, 1)
    assert float(invariance(z, 2)) == pytest.approx(11 / 3, rel=1e-6)


def test_invariance_does_not_depend_on_the_place_or_on_a_rotation():
    z, rotation = _random(5, 3, 4), torch.linalg.qr(_random(4, 4, seed=3)).Q
    moved = invariance((z + 10 * _random(3, 4, seed=1)) @ rotation, 2)
    assert float(moved) == pytest.approx(float(invariance(z, 2)), rel=1e-9)


def test_the_mean_of_the_large_views_is_no_fixed_target():
    """Without a stop-gradient nothing is gained by moving all views of an image together."""
    z = _random(5, 3, 4).requires_grad_(True)
    (gradient,) = torch.autograd.grad(invariance(z, 2), z)
    torch.testing.assert_close(gradient.sum(dim=0), torch.zeros(3, 4, dtype=torch.float64))
    assert float(gradient[:2].abs().max()) > 0


def test_invariance_equals_lightlys():
    lightly = pytest.importorskip("lightly.loss.lejepa_loss")
    z = _random(5, 3, 4)
    theirs = lightly.lejepa_invariance_loss(all_proj=z, global_proj=z[:2])
    assert float(invariance(z, 2)) == pytest.approx(float(theirs), rel=1e-9)


def test_the_loss_stays_in_float32_for_half_precision():
    assert invariance(torch.randn(3, 2, 4).to(torch.bfloat16), 2).dtype == torch.float32


def _method(**options):
    torch.manual_seed(0)
    return LeJEPA(ConvNet(), LeJEPA.Config(**{**SMALL, **options}))


def _views():
    return [_random(4, 3, side, side, seed=side + k, dtype=torch.float32) for side in (16, 12) for k in range(2)]


def _seen_by(monkeypatch):
    """The arguments of every call of SIGReg from now on."""
    calls = []

    def watched(projections, slices):
        calls.append((projections.detach(), slices))
        return sigreg(projections, slices)

    monkeypatch.setattr("selfstudy.methods.lejepa.sigreg", watched)
    return calls


def test_the_loss_weighs_the_distance_to_the_large_views_and_sigreg_of_all(monkeypatch):
    calls, views = _seen_by(monkeypatch), _views()
    output = _method(sigreg_weight=0.1)(views, NOW)
    again = _method()
    embedding = torch.cat([again.encoder(torch.cat(views[:2])), again.encoder(torch.cat(views[2:]))])
    z = again.projector(embedding).view(4, 4, 8).detach()  # one batch for the projector's BatchNorm
    (projections, slices), (agreement, gaussian) = calls[0], output.metrics.values()
    torch.testing.assert_close(projections, z)
    torch.testing.assert_close(agreement, invariance(z, 2))
    torch.testing.assert_close(gaussian, sigreg(z, slices))
    torch.testing.assert_close(output.loss.detach(), 0.9 * agreement + 0.1 * gaussian)
    torch.testing.assert_close(output.embedding, embedding[:4].detach())


def test_views_of_one_size_are_all_large():
    views = _views()[:2]
    z = _method().projector(_method().encoder(torch.cat(views))).view(2, 4, 8).detach()
    torch.testing.assert_close(_method()(views, NOW).metrics["invariance"], invariance(z, 2))


def test_slices_are_new_in_every_step_and_need_no_state(monkeypatch):
    calls, method = _seen_by(monkeypatch), _method()
    for step in (3, 3, 4):
        torch.manual_seed(step)
        method(_views(), Progress(step, 10))
    first, again, other = (slices for _, slices in calls)
    assert torch.equal(first, again) and not torch.equal(first, other)
    torch.testing.assert_close(first.norm(dim=0), torch.ones(16))


def test_every_view_moves_the_weights_and_there_is_no_teacher():
    method, views = _method(), [view.requires_grad_(True) for view in _views()]
    method(views, NOW).loss.backward()
    assert all(float(view.grad.abs().sum()) > 0 for view in views)
    assert {name for name, _ in method.named_children()} == {"encoder", "projector"}


def test_small_images_have_two_large_views_alone_and_no_blur():
    (only,) = LeJEPA.default_views((32, 32))
    assert (only.count, only.blur, only.size) == (2, 0.0, (32, 32))
    large, small = LeJEPA.default_views((224, 224))
    assert (large.count, small.count, small.size) == (2, 6, (112, 112))
