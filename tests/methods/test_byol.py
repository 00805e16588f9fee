"""BYOL: which views and networks the loss of tests/ops/test_alignment.py meets, and how the teacher moves."""

import copy

import pytest
import torch

from selfstudy.methods.byol import BYOL
from selfstudy.ops.schedules import Progress
from tests.methods.small_encoders import ConvNet
from tests.ops.test_alignment import slow_normalized_mse

SMALL = {"hidden_dim": 16, "projection_dim": 8}

NOW = Progress(0, 10)


def _method():
    torch.manual_seed(0)
    return BYOL(ConvNet(), BYOL.Config(momentum=0.9, **SMALL))


def _views():
    return [torch.randn(6, 3, 16, 16, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1)]


def test_the_loss_is_equation_2_in_both_directions_added():
    method, (first, second) = _method(), _views()
    with torch.no_grad():
        for parameter in method.teacher.parameters():
            parameter.mul_(1.5)  # no longer the student
    again = copy.deepcopy(method)
    online = [again.predictor(again.projector(again.encoder(view))).detach().double() for view in (first, second)]
    target = [again.teacher(view).double() for view in (first, second)]
    wanted = slow_normalized_mse(online[0], target[1]) + slow_normalized_mse(online[1], target[0])
    assert float(method([first, second], NOW).loss.detach()) == pytest.approx(wanted, rel=1e-5)


def test_by_hand_a_predictor_that_says_the_target_has_no_loss_and_one_that_says_its_opposite_has_8():
    method, (view, _) = _method(), _views()
    for sign, loss in ((1.0, 0.0), (-1.0, 8.0)):
        method.predictor = torch.nn.Linear(8, 8, bias=False)
        method.predictor.weight.data = sign * torch.eye(8)
        assert float(method([view, view], NOW).loss.detach()) == pytest.approx(loss, abs=1e-5)


def test_the_two_views_can_be_exchanged():
    method, (first, second) = _method(), _views()
    torch.testing.assert_close(method([first, second], NOW).loss, method([second, first], NOW).loss)


def test_batchnorm_sees_the_views_apart():
    method, (first, second) = _method(), _views()
    seen = []
    method.encoder.register_forward_hook(lambda module, inputs, output: seen.append(len(output)))
    method.teacher.encoder.register_forward_hook(lambda module, inputs, output: seen.append(len(output)))
    method([first, second], NOW)
    assert seen == [6] * 4


def test_no_gradient_reaches_the_teacher():
    method = _method()
    method(_views(), NOW).loss.backward()
    assert all(parameter.grad is None for parameter in method.teacher.parameters())


def test_the_teacher_moves_by_equation_1_and_stands_still_at_the_end():
    method = _method()
    with torch.no_grad():
        for parameter in [*method.encoder.parameters(), *method.projector.parameters()]:
            parameter.add_(1.0)
    before = [p.clone() for p in method.teacher.parameters()]
    source = [*method.encoder.parameters(), *method.projector.parameters()]
    method.after_step(Progress(10, 10))
    assert all(torch.equal(old, new) for old, new in zip(before, method.teacher.parameters(), strict=True))
    method.after_step(Progress(0, 10))
    for old, new, goal in zip(before, method.teacher.parameters(), source, strict=True):
        torch.testing.assert_close(new, 0.9 * old + 0.1 * goal)


def test_the_loss_has_no_chance_value_because_a_collapsed_network_has_the_least():
    method = _method()
    assert method.chance_loss(6) is None
    equal = [torch.ones(6, 3, 16, 16)] * 2
    method.eval()
    method.predictor = torch.nn.Identity()
    assert float(method(equal, NOW).loss.detach()) == pytest.approx(0.0, abs=1e-5)
