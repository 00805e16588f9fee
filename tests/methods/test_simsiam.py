"""SimSiam: equations 1 to 4 on what its networks give, and the stop-gradient."""

import copy

import pytest
import torch
from torch import nn

from selfstudy.methods.simsiam import SimSiam
from selfstudy.ops.alignment import negative_cosine
from selfstudy.ops.schedules import Progress
from tests.methods.small_encoders import ConvNet
from tests.ops.test_alignment import slow_negative_cosine

SMALL = {"hidden_dim": 16, "projection_dim": 8, "bottleneck_dim": 4}

NOW = Progress(0, 10)


def _method():
    torch.manual_seed(0)
    return SimSiam(ConvNet(), SimSiam.Config(**SMALL))


def _views():
    return [torch.randn(6, 3, 16, 16, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1)]


def test_the_loss_is_equation_4():
    method, views = _method(), _views()
    again = copy.deepcopy(method)
    z = [again.projector(again.encoder(view)) for view in views]  # BatchNorm sees one view at a time
    p = [again.predictor(projection).detach().double() for projection in z]
    z = [projection.detach().double() for projection in z]
    wanted = slow_negative_cosine(p[0], z[1]) / 2 + slow_negative_cosine(p[1], z[0]) / 2
    assert float(method(views, NOW).loss.detach()) == pytest.approx(wanted, rel=1e-5)


def test_by_hand_equal_views_and_a_predictor_that_changes_nothing_reach_the_least_loss():
    method, (view, _) = _method(), _views()
    method.predictor = nn.Identity()
    assert float(method([view, view], NOW).loss.detach()) == pytest.approx(-1.0)


def test_the_two_views_can_be_exchanged():
    method, (first, second) = _method(), _views()
    torch.testing.assert_close(method([first, second], NOW).loss, method([second, first], NOW).loss)


def test_no_gradient_flows_into_what_is_predicted():
    """The gradient is that of predictions toward fixed targets, and differs from the one without the stop."""
    method, views = _method(), _views()

    def gradient(stop):
        again = copy.deepcopy(method)
        z = [again.projector(again.encoder(view)) for view in views]
        t = [projection.detach() if stop else projection for projection in z]
        loss = negative_cosine(again.predictor(z[0]), t[1]) / 2 + negative_cosine(again.predictor(z[1]), t[0]) / 2
        return torch.autograd.grad(loss, list(again.encoder.parameters()))[0]

    method(views, NOW).loss.backward()
    ours = next(method.encoder.parameters()).grad
    torch.testing.assert_close(ours, gradient(stop=True))
    assert not torch.allclose(ours, gradient(stop=False), rtol=1e-2, atol=1e-4)


def test_the_projector_ends_in_a_batchnorm_that_learns_nothing():
    last = _method().projector[-1]
    assert isinstance(last, nn.BatchNorm1d) and not list(last.parameters())


def test_long_runs_take_the_papers_optimizer():
    from selfstudy.methods.base import DataFacts

    recipe = SimSiam.recipe(DataFacts(1_281_167, (224, 224), 3, 512, 250_000))
    assert recipe.optimizer == {"name": "sgd", "lr": 0.1, "weight_decay": 1e-4, "warmup": 0.0} and not recipe.method
