"""Block masks: how many patches, in what shape, and whose."""

import math

import pytest
import torch

from selfstudy.ops.block_masks import block_masks, block_size, context_and_targets, rectangles, view_masks

GRID = (8, 10)


def _draws(batch, count=2, seed=0):
    return torch.rand(batch, count, generator=torch.Generator().manual_seed(seed))


def slow_block_mask(draws, grid, wanted):
    """The authors' loop for one image, fed with these numbers; one rectangle per four of them."""
    rows, columns = grid
    hidden = [[False] * columns for _ in range(rows)]
    for area, aspect, top, left in draws.view(-1, 4).tolist():
        room = wanted - sum(map(sum, hidden))
        low = (min(grid) // 3) ** 2
        size, ratio = low + (room - low) * area, math.exp(math.log(0.3) + (math.log(1 / 0.3) - math.log(0.3)) * aspect)
        h, w = round(math.sqrt(size * ratio)), round(math.sqrt(size / ratio))
        if not (h < rows and w < columns):
            continue
        y, x = int(top * (rows - h + 1)), int(left * (columns - w + 1))
        new = [(i, j) for i in range(y, y + h) for j in range(x, x + w) if not hidden[i][j]]
        if 0 < len(new) <= room:
            for i, j in new:
                hidden[i][j] = True
    return torch.tensor(hidden).flatten()


def test_block_masks_are_the_authors_loop():
    draws, wanted = _draws(20, 4 * 12), torch.linspace(0, 45, 20)
    masks = block_masks(draws, GRID, wanted)
    for row in range(20):
        assert torch.equal(masks[row], slow_block_mask(draws[row], GRID, float(wanted[row])))


def test_no_more_is_hidden_than_is_wanted_and_hardly_less():
    wanted = torch.linspace(0, 40, 200)
    hidden = block_masks(_draws(200, 4 * 32), GRID, wanted).sum(dim=1)
    assert (hidden <= wanted).all() and (wanted.floor() - hidden).float().mean() < 0.5


def test_hidden_patches_stand_together():
    """Neighbours are hidden together far more often than among as many patches at random."""
    masks = block_masks(_draws(200, 4 * 32), GRID, torch.full((200,), 24.0)).view(-1, *GRID)
    both = (masks[:, :, 1:] & masks[:, :, :-1]).float().mean()
    assert both > 1.8 * masks.float().mean() ** 2


def _views(draws, probability=0.5, share=(0.1, 0.5), views=2):
    return view_masks(draws, GRID, views=views, share=share, probability=probability)


@pytest.mark.parametrize(("probability", "views", "masked"), [(0.5, 2, {1}), (1.0, 2, {2}), (0.75, 2, {1, 2})])
def test_as_even_a_number_of_views_of_each_image_is_masked_as_can_be(probability, views, masked):
    any_hidden = _views(_draws(400), probability, views=views).any(dim=1).view(views, -1)
    assert set(any_hidden.sum(dim=0).tolist()) == masked
    assert any_hidden.float().mean(dim=1).tolist() == pytest.approx([probability] * views, abs=0.08)


def test_shares_cover_their_range():
    shares = _views(_draws(400), 1.0).float().mean(dim=1)
    assert shares.max() <= 0.5 and shares.min() < 0.15 and float(shares.mean()) == pytest.approx(0.3, abs=0.03)


def test_one_patch_is_hidden_however_small_the_share():
    hidden = _views(_draws(200), 1.0, share=(0.0, 0.0)).sum(dim=1)
    assert (hidden <= 1).all() and hidden.float().mean() > 0.98


def test_a_mask_belongs_to_its_image_and_its_view():
    draws, order = _draws(6), torch.tensor([3, 0, 5, 1, 4, 2])
    masks = _views(draws, 1.0)
    assert torch.equal(_views(draws[order], 1.0).view(2, 6, -1), masks.view(2, 6, -1)[:, order])
    assert len({tuple(mask.tolist()) for mask in masks}) == 12


def test_rectangles_have_their_size_and_reach_every_side():
    blocks = rectangles(_draws(500), GRID, 3, 4).view(-1, *GRID)
    assert (blocks.sum(dim=(1, 2)) == 12).all()
    assert (blocks.any(dim=2).sum(dim=1) == 3).all() and (blocks.any(dim=1).sum(dim=1) == 4).all()
    assert blocks.any(dim=0).all()


def test_rectangles_by_hand():
    places = torch.tensor([[0.0, 0.0], [0.99, 0.5]])
    first, last = rectangles(places, (2, 3), 1, 2).int().tolist()
    assert first == [1, 1, 0, 0, 0, 0] and last == [0, 0, 0, 0, 1, 1]


@pytest.mark.parametrize(
    ("numbers", "grid", "size"),
    [((0.0, 0.0), (14, 14), (5, 6)), ((1.0, 1.0), (14, 14), (8, 5)), ((0.5, 0.5), (2, 2), (1, 1))],
)
def test_block_sizes_by_hand(numbers, grid, size):
    """15 % of 196 patches are 29; the square roots of 29 x 0.75 and 29 / 0.75 are 4.7 and 6.2."""
    assert block_size(numbers, grid, share=(0.15, 0.2), aspect=(0.75, 1.5)) == size


def _jepa(draws, keep=20):
    return context_and_targets(draws, GRID, context=(7, 9), target=(3, 5), count=4, keep=keep)


def test_the_context_holds_no_patch_of_any_target_and_none_twice():
    context, targets = _jepa(_draws(300))
    assert context.shape == (300, 20) and targets.shape == (300, 4, 15)
    for row in range(300):
        kept = set(context[row].tolist())
        assert len(kept) == 20 and not kept & set(targets[row].flatten().tolist())


def test_the_context_lies_within_one_block():
    """Seven of eight rows and nine of ten columns, so an empty row and an empty column on one side at least."""
    context, _ = _jepa(_draws(100))
    rows, columns = context // 10, context % 10
    assert ((rows.amax(1) < 7) | (rows.amin(1) > 0)).all() and ((columns.amax(1) < 9) | (columns.amin(1) > 0)).all()


def test_every_target_is_a_rectangle_in_order():
    _, targets = _jepa(_draws(50))
    for block in targets.flatten(0, 1).tolist():
        assert block == [block[0] + 10 * i + j for i in range(3) for j in range(5)] and block[0] % 10 <= 5


def test_where_no_placement_leaves_enough_the_context_still_has_its_number():
    context, _ = context_and_targets(_draws(20), (2, 2), context=(2, 2), target=(1, 2), count=4, keep=3)
    assert all(len(set(row)) == 3 for row in context.tolist())


def test_blocks_belong_to_their_image():
    draws, order = _draws(6), torch.tensor([3, 0, 5, 1, 4, 2])
    for plain, permuted in zip(_jepa(draws), _jepa(draws[order]), strict=True):
        assert torch.equal(permuted, plain[order])
