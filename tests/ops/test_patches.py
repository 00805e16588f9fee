"""Patches: their order, the way back, and fixed positions."""

import math

import torch

from selfstudy.ops.patches import patchify, put, sincos_positions, take, unpatchify


def test_patches_hold_the_pixels_of_their_place():
    images = torch.randn(2, 3, 8, 12, generator=torch.Generator().manual_seed(0))
    patches = patchify(images, (2, 4))
    assert patches.shape == (2, 12, 24)
    for number, (row, column) in enumerate((r, c) for r in range(4) for c in range(3)):
        cell = images[:, :, 2 * row : 2 * row + 2, 4 * column : 4 * column + 4]
        assert torch.equal(patches[:, number], cell.permute(0, 2, 3, 1).flatten(1))


def test_unpatchify_is_the_way_back():
    images = torch.randn(2, 5, 9, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(unpatchify(patchify(images, (3, 2)), (3, 4), (3, 2)), images)


def test_a_row_is_taken_and_put_by_its_number():
    rows, which = torch.arange(12.0).view(2, 3, 2), torch.tensor([[2, 0], [1, 2]])
    assert torch.equal(take(rows, which)[0], rows[0, [2, 0]]) and torch.equal(take(rows, which)[1], rows[1, [1, 2]])
    changed = put(rows, which, torch.zeros(2, 2, 2))
    assert torch.equal(changed[0, 1], rows[0, 1]) and torch.equal(changed[1, 0], rows[1, 0])
    assert changed.count_nonzero() == 4
    assert torch.equal(put(rows, which, take(rows, which)), rows)


def test_positions_are_sines_and_cosines_of_row_and_column():
    table = sincos_positions((3, 5), 8)
    row, column = 2, 4
    wanted = [wave(place / scale) for place in (row, column) for wave in (math.sin, math.cos) for scale in (1, 100)]
    torch.testing.assert_close(table[row * 5 + column], torch.tensor(wanted))


def test_no_two_places_share_a_position():
    table = sincos_positions((14, 14), 16)
    assert torch.cdist(table, table).fill_diagonal_(1.0).min() > 0.1
