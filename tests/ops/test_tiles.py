"""Tiles against slices, permutations against itertools and against the greedy choice in slow motion."""

import itertools

import pytest
import torch

from selfstudy.ops.tiles import all_permutations, choose, cut_tiles, distant_permutations


def test_choices_are_whole_uniform_and_in_range():
    draws = torch.rand(10_000, generator=torch.Generator().manual_seed(0))
    counts = torch.bincount(choose(draws, 5), minlength=5)
    assert counts.shape == (5,) and (counts > 1800).all()
    largest = torch.tensor([0.0, 1 - 2**-24])
    assert choose(largest, 10_000_019).tolist() == [0, 10_000_018]


def test_tiles_are_slices_of_their_own_image():
    images = torch.arange(2 * 3 * 7 * 9, dtype=torch.float32).view(2, 3, 7, 9)
    top, left = torch.tensor([[0, 3], [2, 1]]), torch.tensor([[4, 0], [1, 5]])
    tiles = cut_tiles(images, top, left, (4, 3))
    assert tiles.shape == (2, 2, 3, 4, 3)
    for b, t in itertools.product(range(2), range(2)):
        row, column = int(top[b, t]), int(left[b, t])
        assert torch.equal(tiles[b, t], images[b, :, row : row + 4, column : column + 3])


def test_all_permutations_come_in_lexicographic_order():
    assert [tuple(row) for row in all_permutations(5).tolist()] == list(itertools.permutations(range(5)))


def slow_distant(n: int, count: int) -> list[tuple[int, ...]]:
    """Algorithm 1 from the identity, with its ties decided."""

    def distances(one):
        return [sum(a != b for a, b in zip(one, other, strict=True)) for other in chosen]

    chosen = [tuple(range(n))]
    while len(chosen) < count:
        rest = [one for one in itertools.permutations(range(n)) if one not in chosen]
        chosen.append(max(rest, key=lambda one: (sum(distances(one)), min(distances(one)))))
    return chosen


@pytest.mark.parametrize(("n", "count"), [(3, 6), (4, 9), (5, 12)])
def test_the_chosen_permutations_are_those_of_the_papers_algorithm(n, count):
    assert [tuple(row) for row in distant_permutations(n, count).tolist()] == slow_distant(n, count)


def test_a_hundred_orders_of_nine_differ_in_as_many_places_as_the_papers():
    """The paper's table of permutation sets gives 8.08 on average, and 2 at least, for a hundred."""
    orders = distant_permutations(9, 100)
    distance = (orders[:, None] != orders[None]).sum(dim=-1)[~torch.eye(100, dtype=torch.bool)]
    assert float(distance.float().mean()) == pytest.approx(8.08, abs=0.005) and int(distance.min()) >= 2
