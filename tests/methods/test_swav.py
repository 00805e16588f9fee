"""SwAV: its loss against equations 1 and 2 as a slow loop, the codes, the queue, the prototypes."""

import copy
import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from selfstudy.methods.swav import SwAV, similarities
from selfstudy.ops.distillation import dino_loss as swav_loss
from selfstudy.ops.schedules import Progress
from selfstudy.ops.sinkhorn import sinkhorn
from tests.methods.small_encoders import ConvNet

SMALL = {"hidden_dim": 16, "projection_dim": 8, "prototypes": 10, "queue_size": 12}


def _random(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def slow_swav(scores: Tensor, codes: Tensor, t: float) -> float:
    """SwAV eq. 1 and 2 for every large view and every other view, image by image."""
    losses = []
    for g in range(len(codes)):
        for v in range(len(scores)):
            for b in range(scores.shape[1]):
                if g != v:
                    exponentials = [math.exp(float(score) / t) for score in scores[v, b]]
                    shares = [value / sum(exponentials) for value in exponentials]
                    losses.append(-sum(float(q) * math.log(p) for q, p in zip(codes[g, b], shares, strict=True)))
    return sum(losses) / len(losses)


def test_swav_is_the_papers_equation_over_all_pairs_of_different_views():
    scores, codes = _random(5, 3, 7), torch.softmax(_random(2, 3, 7, seed=1), dim=-1)
    assert float(swav_loss(scores, codes, 0.5)) == pytest.approx(slow_swav(scores, codes, 0.5), rel=1e-9)


def test_swav_by_hand():
    """Each view's code is the other's first choice: scores 1 and 0 at temperature 1 give ln(1 + 1/e) both ways."""
    scores = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]])
    codes = torch.tensor([[[0.0, 1.0]], [[1.0, 0.0]]])
    assert float(swav_loss(scores, codes, 1.0)) == pytest.approx(math.log(1 + math.exp(-1)), rel=1e-6)


def test_equal_scores_cost_the_chance_loss():
    codes = torch.softmax(_random(2, 3, 10), dim=-1)
    chance, formula = _method().chance_loss(4)
    assert formula == "ln K"
    assert float(swav_loss(torch.zeros_like(codes), codes, 0.1)) == pytest.approx(chance, rel=1e-6)


def test_swav_does_not_depend_on_the_order_of_prototypes_or_on_a_score_common_to_all():
    scores, codes = _random(5, 3, 7), torch.softmax(_random(2, 3, 7, seed=1), dim=-1)
    order = torch.randperm(7, generator=torch.Generator().manual_seed(1))
    other = swav_loss(scores[:, :, order] + 3, codes[:, :, order], 0.1)
    assert float(other) == pytest.approx(float(swav_loss(scores, codes, 0.1)), rel=1e-9)


def test_swav_equals_lightlys():
    lightly = pytest.importorskip("lightly.loss.swav_loss")
    scores = _random(5, 8, 7)
    theirs = lightly.SwaVLoss(temperature=0.1, sinkhorn_epsilon=0.3)(list(scores[:2]), list(scores[2:]))
    codes = torch.stack([sinkhorn(view, 0.3, 3) for view in scores[:2]])
    assert float(swav_loss(scores, codes, 0.1)) == pytest.approx(float(theirs), rel=1e-6)


def test_the_loss_stays_in_float32_for_half_precision():
    z = torch.randn(3, 4, 5).to(torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        scores = similarities(z, torch.randn(6, 5))
        assert scores.dtype == swav_loss(z, z[:2].float().softmax(-1), 0.1).dtype == torch.float32


def _method(**options):
    torch.manual_seed(0)
    return SwAV(ConvNet(), SwAV.Config(**{**SMALL, "queue_from": 0.5, **options}))


def _views():
    return [_random(4, 3, side, side, seed=side + k, dtype=torch.float32) for side in (16, 12) for k in range(2)]


def _projections(method, views):
    """(V, B, P): views of one size in one call of the encoder, all views in one of the projector."""
    embedding = torch.cat([method.encoder(torch.cat(views[:2])), method.encoder(torch.cat(views[2:]))])
    return method.projector(embedding).unflatten(0, (len(views), -1))


def _codes(method, large, queued=None):
    """Sinkhorn's codes of the large views (2, B, P), together with a queue (2, Q, P)."""
    rows = large if queued is None else torch.cat([large, queued], dim=1)
    scores = [normalize(view, dim=1) @ method.prototypes.T for view in rows.detach()]
    return torch.stack([sinkhorn(view, 0.05, 3)[: large.shape[1]] for view in scores]).detach()


def test_codes_of_the_large_views_are_predicted_from_every_other_view():
    method, views = _method(), _views()
    again = copy.deepcopy(method)
    output = method(views, Progress(0, 10))
    z = _projections(again, views)
    scores = normalize(z, dim=-1) @ again.prototypes.T
    torch.testing.assert_close(output.loss, swav_loss(scores, _codes(again, z[:2]), 0.1))
    assert output.embedding.shape == (4, 16)


def test_no_gradient_flows_through_the_codes():
    method, views = _method(), _views()
    again = copy.deepcopy(method)
    method(views, Progress(0, 10)).loss.backward()
    z = _projections(again, views)
    swav_loss(similarities(z, again.prototypes), _codes(again, z[:2]), 0.1).backward()
    for mine, theirs in zip(method.parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad)


def test_the_large_views_join_the_queue_after_the_loss():
    method, views = _method(queue_from=0.0), _views()
    z = _projections(copy.deepcopy(method), views).detach()
    old = method.queue.items.clone()
    method(views, Progress(0, 10))
    torch.testing.assert_close(method.queue.items[:4], torch.cat([z[0], z[1]], dim=1))
    assert torch.equal(method.queue.items[4:], old[4:]) and int(method.queue.pointer) == 4


@pytest.mark.parametrize(("step", "used"), [(4, False), (5, True)])
def test_the_queue_shares_the_codes_from_its_time_on(step, used):
    method, views = _method(), _views()
    again = copy.deepcopy(method)
    loss = method(views, Progress(step, 10)).loss
    z = _projections(again, views)
    queued = torch.stack([again.queue.items[:, :8], again.queue.items[:, 8:]]) if used else None
    wanted = swav_loss(similarities(z, again.prototypes), _codes(again, z[:2], queued), 0.1)
    torch.testing.assert_close(loss, wanted)


def test_a_queue_that_is_not_full_is_not_used():
    """After two steps of four images, eight of its twelve places hold images."""
    views = _views()
    losses = [_method(queue_from=start)(views, Progress(step, 10)).loss for start in (0.0, 1.0) for step in (2, 3)]
    assert losses[0] == losses[2] and losses[1] != losses[3]


def test_no_queue_is_kept_where_none_is_wanted():
    method = _method(queue_size=0)
    method(_views(), Progress(9, 10)).loss.backward()
    assert method.queue.items.numel() == 0


def test_the_prototypes_stand_still_at_the_beginning_only():
    method = _method(freeze_fraction=0.5)
    for step, frozen in ((0, True), (9, False)):
        method(_views(), Progress(step, 10)).loss.backward()
        method.before_step(Progress(step, 10))
        assert (method.prototypes.grad is None) == frozen


def test_the_prototypes_have_length_one_from_the_start_and_after_every_step():
    method = _method()
    torch.testing.assert_close(method.prototypes.norm(dim=1), torch.ones(10))
    direction = normalize(method.prototypes.detach() + 0.3, dim=1)
    with torch.no_grad():
        method.prototypes.add_(0.3)
    method.after_step(Progress(0, 10))
    torch.testing.assert_close(method.prototypes.detach(), direction)


def test_small_images_have_no_small_views_and_no_blur():
    (only,) = SwAV.default_views((32, 32))
    assert (only.count, only.blur) == (2, 0.0)
    large, small = SwAV.default_views((224, 224))
    assert (large.count, small.count, small.size) == (2, 6, (112, 112))
