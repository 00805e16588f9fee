"""Neighbours and prototypes, found by hand."""

import torch

from selfstudy.images.neighbours import most_used, nearest


def test_the_nearest_are_the_others_of_the_same_direction_at_any_length():
    embeddings = torch.tensor([[1.0, 0.0], [0.0, 5.0], [9.0, 1.0], [0.1, 0.1], [-1.0, 0.0]])
    cosines, rows = nearest(embeddings, torch.tensor([0, 1]), 3)
    assert rows.tolist() == [[2, 3, 1], [3, 2, 0]] or rows.tolist() == [[2, 3, 1], [3, 2, 4]]
    torch.testing.assert_close(cosines[0], torch.tensor([9 / 82**0.5, 0.5**0.5, 0.0]))


def test_an_image_is_not_its_own_neighbour_but_its_copy_is():
    embeddings = torch.randn(20, 4, generator=torch.Generator().manual_seed(0))
    embeddings[7] = embeddings[3]
    _, rows = nearest(embeddings, torch.arange(20), 19)
    assert all(number not in row for number, row in enumerate(rows.tolist()))
    assert rows[3, 0] == 7 and rows[7, 0] == 3


def test_prototypes_come_by_use_with_the_images_that_fit_them_best():
    scores = torch.tensor([[3.0, 0, 1, 0], [5.0, 0, 2, 0], [4.0, 0, 0, 0], [0.0, 0, 7, 0], [0.0, 0, 8, 0]])
    found = most_used(lambda part: part, scores, prototypes=12, images=2)
    assert [(one.number, one.chosen_by, one.best) for one in found] == [(0, 3, [1, 2]), (2, 2, [4, 3])]
    assert len(most_used(lambda part: part, scores, prototypes=1, images=9)[0].best) == 5


def test_many_images_are_scored_in_parts_with_the_same_result():
    embeddings = torch.randn(700, 6, generator=torch.Generator().manual_seed(0))
    sizes = []
    found = most_used(lambda part: (sizes.append(len(part)), part)[1], embeddings, prototypes=6, images=3)
    assert max(sizes) <= 256 and sum(one.chosen_by for one in found) == 700
    for one in found:
        assert one.best == embeddings[:, one.number].topk(3).indices.tolist()
