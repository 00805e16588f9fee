"""RotNet: the loss of its equations 2 and 3 as a slow loop, the four rotations, square and oblong views."""

import math

import pytest
import torch
from torch import nn

from selfstudy.methods.base import DataFacts
from selfstudy.methods.rotation import RotationPrediction
from selfstudy.ops.schedules import Progress
from tests.methods.small_encoders import ConvNet

SMALL = {"hidden_dim": 8}
NOW = Progress(0, 10)


def _method(**options):
    torch.manual_seed(0)
    return RotationPrediction(ConvNet(norm=nn.Identity), RotationPrediction.Config(**options))


def _view(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def slow_rotation(method: RotationPrediction, images: torch.Tensor) -> float:
    """Equations 2 and 3: image by image, rotation by rotation, with the turns written out as flips and transposes."""
    turned = [
        lambda x: x,
        lambda x: x.transpose(1, 2).flip(1),
        lambda x: x.flip(1).flip(2),
        lambda x: x.flip(1).transpose(1, 2),
    ]
    total = 0.0
    for image in images:
        for y, turn in enumerate(turned):
            scores = method.head(method.encoder(turn(image)[None]))[0].tolist()
            total -= math.log(math.exp(scores[y]) / sum(math.exp(score) for score in scores)) / 4
    return total / len(images)


@pytest.mark.parametrize("size", [(16, 16), (16, 24), (21, 13)])
def test_the_loss_is_the_papers_on_all_four_rotations(size):
    method, images = _method().double(), _view(3, 3, *size).double()
    assert float(method([images], NOW).loss.detach()) == pytest.approx(slow_rotation(method, images), rel=1e-6)


@pytest.mark.parametrize(("size", "calls"), [((16, 16), [12]), ((16, 24), [6, 6])])
def test_rotations_of_one_shape_are_encoded_in_one_call(size, calls):
    method, seen = _method(), []
    method.encoder.register_forward_hook(lambda module, inputs, output: seen.append(len(inputs[0])))
    method([_view(3, 3, *size)], NOW)
    assert seen == calls


def test_an_image_that_looks_the_same_from_all_sides_can_only_be_guessed():
    """Its four answers share one score each: cross entropy of at least ln 4, and one right answer in four."""
    view = torch.ones(2, 3, 16, 16)
    output = _method()([view], NOW)
    assert float(output.loss.detach()) >= math.log(4) - 1e-6 and float(output.metrics["accuracy"]) == 0.25


def test_turning_the_batch_leaves_the_loss_of_a_head_that_turns_with_it():
    method, view = _method(), _view(3, 3, 16, 16)
    loss = method([view], NOW).loss
    with torch.no_grad():
        method.head[0].weight.copy_(method.head[0].weight.roll(1, 0))
        method.head[0].bias.copy_(method.head[0].bias.roll(1, 0))
    torch.testing.assert_close(method([torch.rot90(view, -1, (2, 3))], NOW).loss, loss)


def test_the_embedding_is_that_of_the_upright_image():
    method, view = _method(), _view(3, 3, 16, 24)
    torch.testing.assert_close(method([view], NOW).embedding, method.encoder(view).detach())


def test_a_classifier_without_a_signal_has_the_chance_loss():
    method = _method()
    for parameter in method.head.parameters():
        nn.init.zeros_(parameter)
    chance, formula = method.chance_loss(3)
    assert formula == "ln 4" and float(method([_view(3, 3, 16, 16)], NOW).loss.detach()) == pytest.approx(chance)


def test_crops_keep_the_proportions_of_the_view():
    assert RotationPrediction.default_views((32, 48))[0].ratio == (1.5, 1.5)


def test_long_runs_have_the_papers_learning_rate():
    recipe = RotationPrediction.recipe(DataFacts(50_000, (32, 32), 3, 128, 39_000))
    assert recipe.optimizer["lr"] == 0.1 and recipe.optimizer["name"] == "sgd" and recipe.method == {}
