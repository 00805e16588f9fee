"""Relative location: where its patches are cut, the shared encoder, lost colours, and the loss as a slow loop."""

import math

import pytest
import torch
from torch import nn

from selfstudy.methods.relative_location import RelativeLocation, drop_colors, grid
from selfstudy.ops.schedules import Progress
from tests.methods.small_encoders import ConvNet

SMALL = {"hidden_dim": 8}
NOW = Progress(0, 10)
PLACES = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1), (2, 2)]  # row and column in the grid, by answer


class _Sees(ConvNet):
    """An encoder that keeps what it was given."""

    def forward(self, x):
        self.seen = x
        return super().forward(x)


def _method(**options):
    torch.manual_seed(0)
    config = RelativeLocation.Config(**({"hidden_dim": 8, "color_drop": 0.0} | options))
    method = RelativeLocation(_Sees(norm=nn.Identity), config)
    for index, layer in enumerate(method.head):
        if isinstance(layer, nn.BatchNorm1d):
            method.head[index] = nn.Identity()
    return method


def _draws(batch=6):
    return torch.rand(batch, 7, generator=torch.Generator().manual_seed(1))


def _view(batch=6, size=(133, 150)):
    return torch.randn(batch, 3, *size, generator=torch.Generator().manual_seed(0))


def slow_patches(image: torch.Tensor, draws: list[float]) -> tuple[int, list[torch.Tensor]]:
    """The answer and the two patches of one image, by the paper's description."""
    answer = int(draws[0] * 8)
    patches = []
    for number, (row, column) in enumerate([(1, 1), PLACES[answer]]):
        place = []
        for side, cell, draw in ((-2, row, draws[1 + number]), (-1, column, draws[3 + number])):
            length = image.shape[side]
            patch = int(length * 96 / 398)
            gap = patch // 2
            spare = (length - 3 * patch - 2 * gap) // 2  # the largest shift from the middle
            place.append((cell * (patch + gap) + int(draw * (2 * spare + 1)), patch))
        (top, height), (left, width) = place
        patches.append(image[:, top : top + height, left : left + width])
    return answer, patches


def test_the_loss_is_that_of_naming_the_neighbour_from_both_patches():
    method, view, draws = _method().double(), _view().double(), _draws()
    total = 0.0
    for image, numbers in zip(view, draws.tolist(), strict=True):
        answer, patches = slow_patches(image, numbers)
        features = torch.cat([method.encoder(patch[None])[0] for patch in patches])
        scores = method.head(features[None])[0].tolist()
        total -= math.log(math.exp(scores[answer]) / sum(math.exp(score) for score in scores))
    assert float(method([view, draws], NOW).loss.detach()) == pytest.approx(total / 6, rel=1e-6)


@pytest.mark.parametrize("answer", range(8))
def test_the_first_draw_decides_the_neighbour(answer):
    """The head is made to name one neighbour: it is right exactly when the draw says so."""
    method = _method()
    for parameter in method.head.parameters():
        nn.init.zeros_(parameter)
    with torch.no_grad():
        method.head[-1].bias[answer] = 1.0
    draws = torch.full((8, 7), 0.5)
    draws[:, 0] = (torch.arange(8) + 0.5) / 8
    output = method([_view(8), draws], NOW)
    assert float(output.metrics["accuracy"]) == 1 / 8
    row, column = PLACES[answer]
    (height, down, shakes), (width, right, across) = grid(133), grid(150)
    top, left = row * down + shakes // 2, column * right + across // 2
    wanted = _view(8)[answer, :, top : top + height, left : left + width]
    assert torch.equal(method.encoder.seen[8 + answer], wanted)


@pytest.mark.parametrize("side", [133, 150, 224, 398, 600])
def test_no_jitter_lets_patches_touch_or_leave_the_view(side):
    patch, step, places = grid(side)
    assert patch >= 32 and places % 2 == 1 and places > 1
    assert 2 * step + patch + places - 1 <= side, "the last patch ends outside"
    assert step - (places - 1) > patch, "two patches can touch"


def test_the_smallest_view_has_patches_for_every_encoder():
    (view, _) = RelativeLocation.default_views((28, 300))
    assert view.size == (133, 300) and grid(133)[0] == 32 and grid(132)[0] < 32


def test_dropping_colours_keeps_one_channel_of_every_patch():
    patches = torch.ones(200, 2, 3, 2, 2)
    kept = drop_colors(patches, torch.rand(200, 2, generator=torch.Generator().manual_seed(0)), 1.0)[..., 0, 0]
    assert torch.equal(kept.sum(dim=2), torch.ones(200, 2)) and (kept.sum(dim=(0, 1)) > 100).all()
    some = drop_colors(patches, torch.tensor([[0.1, 0.6]]).expand(200, 2), 0.5)[..., 0, 0]
    assert torch.equal(some.sum(dim=2), torch.tensor([1.0, 3.0]).expand(200, 2))


@pytest.mark.parametrize(("channels", "probability"), [(1, 1.0), (3, 0.0)])
def test_gray_patches_and_a_probability_of_zero_lose_nothing(channels, probability):
    patches = torch.randn(2, 2, channels, 4, 4)
    assert torch.equal(drop_colors(patches, torch.zeros(2, 2), probability), patches)


def test_the_forward_pass_drops_the_colours_it_was_told_to():
    method = _method(color_drop=1.0)
    method([_view(), _draws()], NOW)
    alive = method.encoder.seen.abs().sum(dim=(2, 3)) > 0
    assert torch.equal(alive.sum(dim=1), torch.ones(12, dtype=torch.int64))


def test_a_classifier_without_a_signal_has_the_chance_loss():
    method = _method()
    for parameter in method.head.parameters():
        nn.init.zeros_(parameter)
    chance, formula = method.chance_loss(6)
    assert formula == "ln 8" and float(method([_view(), _draws()], NOW).loss.detach()) == pytest.approx(chance)
