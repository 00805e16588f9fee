"""I-JEPA: its loss as a slow loop, who sees what, and where the blocks come from."""

import pytest
import torch
from torch import Tensor

from selfstudy.errors import UsageError
from selfstudy.methods.ijepa import IJEPA, ijepa_loss
from selfstudy.ops.schedules import Progress
from selfstudy.views.spec import View
from tests.methods.contract import views_for
from tests.methods.small_encoders import vit

SMALL = {"predictor_dim": 16, "predictor_depth": 1, "predictor_heads": 2}

NOW = Progress(3, 10)


def _random(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def slow_ijepa(predicted: Tensor, targets: Tensor, eps: float = 1e-5) -> float:
    """Smooth L1 against every target's numbers less their mean, over their deviation."""
    total = 0.0
    for p, t in zip(predicted.flatten(0, -2), targets.flatten(0, -2), strict=True):
        normal = (t - t.mean()) / (t.var(unbiased=False) + eps).sqrt()
        errors = [abs(float(e)) for e in p - normal]
        total += sum(e * e / 2 if e < 1 else e - 0.5 for e in errors) / len(errors)
    return total / predicted.flatten(0, -2).shape[0]


def test_the_loss_is_smooth_l1_of_normalised_targets():
    predicted, targets = 2 * _random(3, 4, 5), 3 * _random(3, 4, 5, seed=1) + 1
    assert float(ijepa_loss(predicted, targets)) == pytest.approx(slow_ijepa(predicted, targets), rel=1e-9)


def test_the_loss_by_hand():
    """Targets 1 and 3 are -1 and 1 when normalised; errors of 0.5 and 2 cost 0.125 and 1.5."""
    loss = ijepa_loss(torch.tensor([[-0.5, -1.0]]), torch.tensor([[1.0, 3.0]]))
    assert float(loss) == pytest.approx((0.125 + 1.5) / 2, rel=1e-4)


def test_the_loss_does_not_see_scale_and_shift_of_a_target():
    predicted, targets = _random(6, 50), 100 * _random(6, 50, seed=1)
    assert float(ijepa_loss(predicted, 7 * targets + 3)) == pytest.approx(
        float(ijepa_loss(predicted, targets)), rel=1e-6
    )


def test_the_loss_stays_in_float32_for_half_precision():
    z = torch.randn(4, 6).to(torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        assert ijepa_loss(z, z).dtype == torch.float32


def _method(**options):
    torch.manual_seed(0)
    method = IJEPA(vit(), IJEPA.Config(**SMALL | {"momentum": 0.9} | options))
    with torch.no_grad():  # a teacher of its own, so that a test sees which of the two was asked
        for parameter in method.teacher.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape))
    return method


def test_every_block_is_predicted_apart_from_the_context_alone():
    method, (images, draws) = _method(), views_for(IJEPA)
    loss = float(method([images, draws], NOW).loss.detach())
    context, blocks = method._blocks(draws, NOW)
    losses = []
    with torch.no_grad():
        whole = method.teacher.encoder.tokens(images)
        for b in range(len(images)):
            seen = method.encoder.tokens(images[b : b + 1], keep=context[b : b + 1])
            for block in blocks[b]:
                predicted = method.predictor(seen, context[b : b + 1], block[None], (4, 6))
                losses.append(slow_ijepa(predicted, whole[b : b + 1, block]))
    assert loss == pytest.approx(sum(losses) / len(losses), rel=1e-5)


def test_the_student_sees_no_patch_that_it_is_to_predict():
    method, draws = _method(), torch.rand(200, 2, generator=torch.Generator().manual_seed(0))
    context, blocks = method._blocks(draws, NOW)
    assert context.shape == (200, 6)
    assert not (context[:, :, None] == blocks.flatten(1)[:, None, :]).any()


def test_no_gradient_reaches_the_teacher_and_the_predictor_gets_one():
    method = _method()
    method(views_for(IJEPA), NOW).loss.backward()
    assert all(p.grad is None for p in method.teacher.parameters())
    assert all(p.grad.abs().sum() > 0 for p in method.predictor.parameters())


def test_sizes_belong_to_the_step_and_places_to_the_image():
    method, draws = _method(), torch.rand(30, 2, generator=torch.Generator().manual_seed(0))
    sizes = {method._blocks(draws, Progress(step, 100))[1].shape[2] for step in range(30)}
    assert sizes == {method._blocks(draws[:1], Progress(step, 100))[1].shape[2] for step in range(30)}
    context, blocks = method._blocks(draws, NOW)
    for part, all_of_them in zip(method._blocks(draws[7:9], NOW), (context, blocks), strict=True):
        assert torch.equal(part, all_of_them[7:9])
    assert len({tuple(row) for row in blocks.flatten(1).tolist()}) > 25


def test_sizes_differ_between_steps_on_a_grid_large_enough():
    encoder = vit()
    encoder.grid = (14, 14)
    method = IJEPA(encoder, IJEPA.Config(**SMALL))
    shapes = {
        tuple(part.shape[1:]) for step in range(40) for part in method._blocks(torch.zeros(1, 2), Progress(step, 40))
    }
    areas = {shape[1] for shape in shapes if len(shape) == 2}
    assert len(areas) > 3 and min(areas) >= 24 and max(areas) <= 42
    assert {shape for shape in shapes if len(shape) == 1} == {(49,)}


def test_the_teachers_momentum_rises_to_one_in_a_straight_line():
    method = _method()
    with torch.no_grad():
        for parameter in method.encoder.parameters():
            parameter.add_(1.0)
    for step, momentum in ((0, 0.9), (5, 0.95), (10, 1.0)):
        before = [p.clone() for p in method.teacher.parameters()]
        method.after_step(Progress(step, 10))
        for old, new, goal in zip(before, method.teacher.parameters(), method.encoder.parameters(), strict=True):
            torch.testing.assert_close(new, momentum * old + (1 - momentum) * goal.detach())


def test_the_teacher_is_what_users_take_away_and_what_monitors_see():
    method, (images, draws) = _method(), views_for(IJEPA)
    which, encoder = method.representation()
    assert which == "teacher" and encoder is method.teacher.encoder
    torch.testing.assert_close(method([images, draws], NOW).embedding, encoder(images).detach())


def test_a_predictor_whose_width_its_heads_cannot_share_is_refused():
    with pytest.raises(UsageError) as error:
        IJEPA.Config(predictor_dim=64, predictor_heads=6)
    assert str(error.value) == (
        "method.predictor_dim=64 does not divide by method.predictor_heads=6\nset a multiple of 12, or other heads"
    )


def test_nothing_is_done_to_the_images_but_crops():
    view = IJEPA.default_views((32, 32))[0]
    assert view == View((32, 32), scale=(0.3, 1.0), flip=0.0)
