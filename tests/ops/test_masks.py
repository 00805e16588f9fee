"""Masks: uniform, a function of the image's own draws, with the same number of hidden patches in every image."""

import math

import pytest
import torch

from selfstudy.ops.masks import patch_draws, random_order, square_mask, visible_count


def _draws(images, count=2, seed=0):
    return torch.rand(images, count, generator=torch.Generator().manual_seed(seed))


def test_the_numbers_of_patches_are_uniform_and_independent():
    numbers = patch_draws(_draws(20_000), 5).double()
    assert 0 <= numbers.min() and numbers.max() < 1
    assert torch.allclose(numbers.mean(0), torch.tensor(0.5).double(), atol=0.01)
    assert torch.allclose(numbers.var(0), torch.tensor(1 / 12).double(), atol=0.003)
    assert (torch.corrcoef(numbers.T) - torch.eye(5)).abs().max() < 0.03


def test_the_numbers_belong_to_the_image_and_the_patch():
    draws = _draws(6)
    numbers = patch_draws(draws, 9)
    assert torch.equal(patch_draws(draws[3:], 9), numbers[3:])
    assert torch.equal(patch_draws(draws.double(), 5), numbers[:, :5])


def test_every_draw_of_an_image_matters():
    draws = _draws(1).repeat(3, 1)
    draws[1, 0] += 2.0**-24
    draws[2, 1] += 2.0**-24
    assert len(patch_draws(draws, 4).unique(dim=0)) == 3


def test_an_order_holds_every_patch_once():
    order = random_order(patch_draws(_draws(7), 10))
    assert torch.equal(order.sort(dim=1).values, torch.arange(10).expand(7, 10))
    assert torch.equal(random_order(torch.tensor([[0.5, 0.1, 0.5, 0.1]])), torch.tensor([[1, 3, 0, 2]]))


def test_something_is_always_visible_and_something_always_hidden():
    counts = [visible_count(*case) for case in [(196, 0.75), (49, 0.6), (4, 0.99), (4, 0.01)]]
    assert counts == [49, 19, 1, 3]


@pytest.mark.parametrize(("grid", "side", "taken"), [((4, 6), 2, 2), ((9, 11), 2, 1), ((6, 9), 4, 3)])
def test_a_mask_of_squares_hides_whole_squares_the_same_number_in_every_image(grid, side, taken):
    mask = square_mask(_draws(50), grid, side=side, share=0.6).view(50, *grid)
    shape = (50, grid[0] // taken, taken, grid[1] // taken, taken)
    squares = mask.view(shape).transpose(2, 3).flatten(3)  # (B, rows, columns, side x side)
    assert torch.equal(squares.all(dim=3), squares.any(dim=3))
    total = squares.shape[1] * squares.shape[2]
    assert (squares[..., 0].flatten(1).sum(dim=1) == math.ceil(0.6 * total)).all()


def test_every_square_is_hidden_equally_often():
    mask = square_mask(_draws(4000), (4, 4), side=2, share=0.5)
    assert ((mask.float().mean(dim=0) - 0.5).abs() < 0.04).all()
