"""Jigsaw: which tile goes where, each standardised by itself, and the loss as a slow loop."""

import math

import pytest
import torch
from torch import nn

from selfstudy.methods.jigsaw import Jigsaw, grid, standardised
from selfstudy.ops.schedules import Progress
from selfstudy.ops.tiles import distant_permutations
from tests.methods.small_encoders import ConvNet

SMALL = {"permutations": 6, "tile_dim": 4, "hidden_dim": 8}
NOW = Progress(0, 10)


def _method():
    torch.manual_seed(0)
    method = Jigsaw(ConvNet(norm=nn.Identity), Jigsaw.Config(**SMALL))
    method.head[1] = nn.Identity()  # the BatchNorm, so that an image's loss is its own
    return method


def _draws(batch=4):
    return torch.rand(batch, 19, generator=torch.Generator().manual_seed(1))


def _view(batch=4, size=(114, 120)):
    return torch.randn(batch, 3, *size, generator=torch.Generator().manual_seed(0))


def slow_tiles(image: torch.Tensor, order: list[int], draws: list[float]) -> list[torch.Tensor]:
    """The tiles of one image, one after the other in shuffled order."""
    tiles = []
    for place, cell in enumerate(order):
        corner = []
        for side, number, draw in ((-2, cell // 3, draws[1 + place]), (-1, cell % 3, draws[10 + place])):
            length = image.shape[side] // 3
            tile = length * 64 // 75
            corner.append((number * length + int(draw * (length - tile + 1)), tile))
        (top, height), (left, width) = corner
        tile = image[:, top : top + height, left : left + width]
        tiles.append((tile - tile.mean()) / math.sqrt(float(tile.var(correction=0)) + 1e-5))
    return tiles


def test_the_loss_is_that_of_naming_the_order_of_the_tiles():
    method, view, draws = _method().double(), _view().double(), _draws()
    total = 0.0
    for image, numbers in zip(view, draws.tolist(), strict=True):
        answer = int(numbers[0] * 6)
        order = distant_permutations(9, 6)[answer].tolist()
        features = [method.tile_head(method.encoder(tile[None]))[0] for tile in slow_tiles(image, order, numbers)]
        scores = method.head(torch.cat(features)[None])[0].tolist()
        total -= math.log(math.exp(scores[answer]) / sum(math.exp(score) for score in scores))
    assert float(method([view, draws], NOW).loss.detach()) == pytest.approx(total / 4, rel=1e-6)


def test_equal_tiles_leave_nothing_but_guessing():
    """Every order looks the same, so that one score serves them all."""
    output = _method()([torch.ones(6, 3, 114, 114), torch.linspace(0, 0.99, 6)[:, None].expand(-1, 19)], NOW)
    assert float(output.loss.detach()) >= math.log(6) - 1e-6 and float(output.metrics["accuracy"]) == pytest.approx(
        1 / 6
    )


def test_tiles_do_not_show_the_brightness_and_contrast_of_their_image():
    method, view, draws = _method(), _view(), _draws()
    torch.testing.assert_close(method([3 * view + 5, draws], NOW).loss, method([view, draws], NOW).loss)


def test_a_standardised_tile_has_mean_zero_and_spread_one_over_all_its_channels():
    tiles = standardised(5 + 3 * torch.randn(2, 9, 3, 8, 8))
    torch.testing.assert_close(tiles.mean(dim=(2, 3, 4)), torch.zeros(2, 9), atol=1e-5, rtol=0)
    torch.testing.assert_close(tiles.std(dim=(2, 3, 4), correction=0), torch.ones(2, 9), atol=1e-4, rtol=0)
    assert bool((standardised(torch.ones(1, 1, 1, 4, 4)) == 0).all())


@pytest.mark.parametrize(("side", "tile", "cell"), [(225, 64, 75), (114, 32, 38), (224, 63, 74)])
def test_a_tile_is_64_pixels_of_75(side, tile, cell):
    assert grid(side) == (tile, cell) and 3 * cell <= side


def test_the_smallest_view_has_tiles_for_every_encoder():
    (view, draws) = Jigsaw.default_views((28, 300))
    assert view.size == (114, 300) and draws.count == 19 and grid(113)[0] < 32


def test_the_orders_are_state_that_training_leaves_alone():
    method = _method()
    assert torch.equal(method.state_dict()["orders"], distant_permutations(9, 6))


def test_a_classifier_without_a_signal_has_the_chance_loss():
    method = _method()
    for parameter in method.head.parameters():
        nn.init.zeros_(parameter)
    chance, formula = method.chance_loss(4)
    assert formula == "ln P" and float(method([_view(), _draws()], NOW).loss.detach()) == pytest.approx(chance)
