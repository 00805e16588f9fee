"""FastSiam: its loss against a slow loop and SimSiam's, a case solved by hand, the stop-gradient, the four views."""

import copy

import pytest
import torch
from torch import Tensor

from selfstudy.methods.fastsiam import FastSiam, fastsiam_loss
from selfstudy.ops.alignment import negative_cosine
from selfstudy.ops.schedules import Progress
from selfstudy.views.spec import one_each
from tests.methods.small_encoders import ConvNet

SMALL = {"hidden_dim": 16, "projection_dim": 8, "bottleneck_dim": 4}


def _random(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def slow_fastsiam(p: Tensor, z: Tensor) -> float:
    """SimSiam's eq. 1 for every view and image, the target being the mean of the other views."""
    losses = []
    for v in range(len(p)):
        for b in range(p.shape[1]):
            target = torch.stack([z[w, b] for w in range(len(z)) if w != v]).mean(dim=0)
            losses.append(-float(p[v, b] @ target / (p[v, b].norm() * target.norm())))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("views", [2, 3, 4, 7])
def test_fastsiam_is_the_papers_equation(views):
    p, z = _random(views, 5, 6), _random(views, 5, 6, seed=1)
    assert float(fastsiam_loss(p, z)) == pytest.approx(slow_fastsiam(p, z), rel=1e-9)


def test_fastsiam_by_hand():
    """Three views of one image: the targets are halfway between two axes, or on one, where two views agree."""
    z = torch.tensor([[[1.0, 0.0]], [[1.0, 0.0]], [[0.0, 1.0]]])
    assert float(fastsiam_loss(z, z)) == pytest.approx(-(2 * 0.5**0.5 + 0.0) / 3)


def test_with_two_views_it_is_simsiams_loss():
    p, z = _random(2, 5, 6), _random(2, 5, 6, seed=1)
    simsiam = (negative_cosine(p[0], z[1]) + negative_cosine(p[1], z[0])) / 2
    assert float(fastsiam_loss(p, z)) == pytest.approx(float(simsiam), rel=1e-9)


def test_fastsiam_does_not_see_scale_or_the_order_of_views_and_images():
    p, z = _random(4, 5, 6), _random(4, 5, 6, seed=1)
    value = float(fastsiam_loss(p, z))
    assert float(fastsiam_loss(3 * p, 5 * z)) == pytest.approx(value, rel=1e-9)
    assert float(fastsiam_loss(p[[2, 0, 3, 1]], z[[2, 0, 3, 1]])) == pytest.approx(value, rel=1e-9)
    assert float(fastsiam_loss(p.flip(1), z.flip(1))) == pytest.approx(value, rel=1e-9)


def test_no_gradient_reaches_the_targets():
    p, z = _random(4, 5, 6).requires_grad_(), _random(4, 5, 6, seed=1).requires_grad_()
    fastsiam_loss(p, z).backward()
    assert z.grad is None and p.grad.abs().sum() > 0


def test_the_loss_stays_in_float32_for_half_precision():
    z = torch.randn(4, 8, 4).to(torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        assert fastsiam_loss(z, z).dtype == torch.float32


def test_every_view_is_encoded_on_its_own_and_predicts_the_others():
    torch.manual_seed(0)
    method = FastSiam(ConvNet(), FastSiam.Config(**SMALL))
    views = [_random(6, 3, 16, 16, seed=seed, dtype=torch.float32) for seed in range(4)]
    again = copy.deepcopy(method)
    z = [again.projector(again.encoder(view)) for view in views]
    wanted = slow_fastsiam(*(torch.stack(x).detach().double() for x in ([again.predictor(a) for a in z], z)))
    assert float(method(views, Progress(0, 1)).loss.detach()) == pytest.approx(wanted, rel=1e-5)


def test_there_are_four_views():
    assert len(one_each(FastSiam.default_views((32, 32)))) == 4


def test_fastsiam_equals_lightlys_criterion_on_the_mean_of_the_others():
    lightly = pytest.importorskip("lightly.loss")
    p, z = _random(4, 8, 6), _random(4, 8, 6, seed=1)
    others = [torch.cat([z[:v], z[v + 1 :]]).mean(dim=0) for v in range(4)]
    theirs = sum(lightly.NegativeCosineSimilarity()(p[v], others[v]) for v in range(4)) / 4
    assert float(fastsiam_loss(p, z)) == pytest.approx(float(theirs), rel=1e-6)
