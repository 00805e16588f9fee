"""DINO: what it feeds to the loss of tests/ops/test_distillation.py, the centre, the frozen layer, the momentum."""

import pytest
import torch

from selfstudy.methods.dino import DINO
from selfstudy.ops.schedules import Progress
from tests.methods.small_encoders import ConvNet
from tests.ops.test_distillation import slow_dino

SMALL = {"hidden_dim": 16, "bottleneck_dim": 8, "output_dim": 12}


def _method(**options):
    torch.manual_seed(0)
    return DINO(ConvNet(), DINO.Config(hidden_dim=16, bottleneck_dim=8, output_dim=12, momentum=0.9, **options))


def _views():
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(4, 3, side, side, generator=generator) for side in (16, 16, 8, 8)]


def test_the_forward_pass_is_the_loss_of_centred_sharpened_targets():
    method = _method()
    method.centre.value.copy_(torch.linspace(-0.1, 0.1, 12))
    views = _views()
    loss = method(views, Progress(0, 10)).loss
    again = _method()
    targets = torch.softmax((again.teacher(torch.cat(views[:2])) - method.centre.value) / 0.04, dim=1)
    embeddings = torch.cat([again.encoder(torch.cat(views[:2])), again.encoder(torch.cat(views[2:]))])
    student = again.head(embeddings)
    assert float(loss.detach()) == pytest.approx(
        slow_dino(student.detach().view(4, 4, 12), targets.view(2, 4, 12), 0.1), rel=1e-5
    )


def test_the_centre_follows_the_teachers_mean_output_once_per_step():
    method, views = _method(), _views()
    mean = _method().teacher(torch.cat(views[:2])).mean(dim=0)
    method(views, Progress(0, 10))
    method.after_step(Progress(0, 10))
    torch.testing.assert_close(method.centre.value, 0.1 * mean)


def test_the_last_layer_stands_still_at_the_beginning_only():
    method = _method(freeze_fraction=0.5)
    for step, frozen in ((0, True), (9, False)):
        method(_views(), Progress(step, 10)).loss.backward()
        method.before_step(Progress(step, 10))
        assert (method.head.prototypes.grad is None) == frozen


def test_the_teachers_momentum_rises_to_one():
    method = _method()
    with torch.no_grad():
        method.head.prototypes.add_(1.0)
    before = method.teacher.head.prototypes.clone()
    method.after_step(Progress(0, 10))
    torch.testing.assert_close(method.teacher.head.prototypes, before + 0.1, atol=1e-6, rtol=0)
    moved = method.teacher.head.prototypes.clone()
    method.after_step(Progress(10, 10))
    assert torch.equal(method.teacher.head.prototypes, moved)


def test_the_teacher_is_what_users_take_away():
    method = _method()
    which, encoder = method.representation()
    assert which == "teacher" and encoder is method.teacher.encoder


def test_prototype_scores_are_the_teachers_centred_outputs():
    method, views = _method(), _views()
    method(views, Progress(0, 10))
    method.after_step(Progress(0, 10))
    method.eval()
    scores = method.prototype_scores(method.representation()[1](views[0]))
    assert float(method.centre.value.abs().max()) > 0
    torch.testing.assert_close(scores, method.teacher(views[0]) - method.centre.value)
