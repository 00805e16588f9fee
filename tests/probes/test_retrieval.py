import itertools

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from selfstudy.probes.features import DenseFeatures
from selfstudy.probes.retrieval import average_precision, hit_chance, measure, retrieve


def problem(n, m, *, classes=4, grid=None, seed=0):
    """Features and labels of a gallery and of queries; whole numbers up to ``grid`` make many of them equally near."""
    draw = torch.Generator().manual_seed(seed)

    def features(count):
        if grid is not None:
            return 1 + torch.randint(grid, (count, 2), generator=draw).float()
        return torch.randn(count, 8, generator=draw)

    train, test = features(n), features(m)
    return train, torch.arange(n) % classes * 3 + 1, test, torch.arange(m) % classes * 3 + 1


def cosines_of(train, test):
    """The cosines of features whose labels do not matter."""
    labels = [torch.arange(len(part)) % 2 for part in (train, test)]
    return DenseFeatures("x", train, labels[0], test, labels[1]).cosines()


def slow_recall(train, labels, test, test_labels, k):
    """The definition, one query at a time."""
    hits = 0
    for query, label in zip(test, test_labels, strict=True):
        cosines = torch.nn.functional.cosine_similarity(query[None], train).tolist()
        nearest = sorted(range(len(cosines)), key=lambda i: -cosines[i])[:k]
        hits += any(labels[i] == label for i in nearest)
    return 100 * hits / len(test)


@pytest.mark.parametrize("grid", [None, 3], ids=["no two equally near", "many equally near"])
def test_average_precision_is_scikit_learns(grid):
    train, labels, test, test_labels = problem(60, 20, grid=grid)
    cosines = cosines_of(train, test)(torch.arange(20)).double().round(decimals=5)
    for near, label in zip(cosines, test_labels, strict=True):
        wanted = average_precision_score((labels == label).numpy(), near.numpy())
        found = average_precision(near.sort().values[None], near[labels == label].sort().values[None])
        assert found.item() == pytest.approx(wanted, rel=1e-12)


def test_average_precision_of_a_ranking_done_by_hand():
    near, same = torch.tensor([[0.5, 0.6, 0.7, 0.8, 0.9]]), torch.tensor([[0.5, 0.7, 0.9]])  # places 5, 3 and 1
    assert average_precision(near, same).item() == pytest.approx((1 / 1 + 2 / 3 + 3 / 5) / 3)


@pytest.mark.parametrize("k", [1, 5])
def test_recall_is_that_of_the_slow_loop(k):
    data = problem(40, 30)
    assert retrieve(cosines_of(data[0], data[2]), data[1], data[3]).recall[k].mean() == pytest.approx(
        slow_recall(*data, k)
    )


@pytest.mark.parametrize("k", [1, 2, 3, 6])
def test_recall_of_equally_near_images_is_the_mean_over_their_orders(k):
    near = torch.tensor([0.1, 0.5, 0.5, 0.5, 0.5, 0.9])
    same = torch.tensor([True, True, False, True, False, False])
    orders = [(5, *middle, 0) for middle in itertools.permutations(range(1, 5))]
    wanted = np.mean([any(same[i] for i in order[:k]) for order in orders])
    assert hit_chance(near[None], near[None, same], k).item() == pytest.approx(wanted)


def test_the_order_of_the_gallery_does_not_matter():
    train, labels, test, test_labels = problem(200, 40, grid=2)
    order = torch.argsort(labels, stable=True)
    sorted_ = retrieve(cosines_of(train[order], test), labels[order], test_labels)
    expected = retrieve(cosines_of(train, test), labels, test_labels)
    assert torch.equal(sorted_.precision, expected.precision) and torch.equal(sorted_.recall[5], expected.recall[5])


@pytest.mark.parametrize("block", [1, 100, 10_000])
def test_cosines_held_at_once_are_bounded_and_do_not_change_the_result(block):
    train, labels, test, test_labels = problem(50, 30)
    cosines, sizes = cosines_of(train, test), []

    def watched(rows):
        near = cosines(rows)
        sizes.append(near.numel())
        return near

    found = retrieve(watched, labels, test_labels, block=block)
    whole = retrieve(cosines, labels, test_labels)
    torch.testing.assert_close(found.precision, whole.precision)
    assert all(torch.equal(found.recall[k], whole.recall[k]) for k in (1, 5))
    assert max(sizes) <= max(block, 50)


def test_images_that_are_their_class_find_it_and_noise_finds_its_share():
    labels, test_labels = torch.arange(400) % 4, torch.arange(400) % 4
    perfect = retrieve(cosines_of(torch.eye(4)[labels], torch.eye(4)[test_labels]), labels, test_labels)
    assert perfect.precision.tolist() == perfect.recall[1].tolist() == perfect.recall[5].tolist() == [100.0] * 400
    noise = retrieve(cosines_of(torch.randn(400, 64), torch.randn(400, 64)), labels, test_labels)
    assert float(noise.precision.mean()) == pytest.approx(25, abs=3)
    assert float(noise.recall[5].mean()) == pytest.approx(100 * (1 - 0.75**5), abs=10)


def test_there_is_a_column_for_every_figure_and_one_protocol():
    train, labels, test, test_labels = problem(40, 8)
    scores = measure(DenseFeatures("x", train, labels, test, test_labels))
    columns = ["retrieval-map", "retrieval-recall-1", "retrieval-recall-5"]
    assert [score.probe for score in scores] == [*columns, *(f"{column}-whitened" for column in columns)]
    assert len({score.protocol for score in scores[3:]}) == 1 and "PCA-whitened by 40 of train" in scores[3].protocol
    assert {score.protocol for score in scores[:3]} == {
        "retrieval: cosine, frozen, final model; test asks, train answers; mAP over the whole ranking, R@k: one of the "
        "query's class among the k nearest, 40 train / 8 test, test used once"
    }


def test_a_gallery_of_a_million_is_compared_with_four_queries_at_once():
    asked = []

    def watched(rows):
        asked.append(len(rows))
        raise StopIteration

    with pytest.raises(StopIteration):
        retrieve(watched, torch.zeros(2**20, dtype=torch.int64), torch.zeros(9, dtype=torch.int64))
    assert asked == [4]
