import math

import pytest
import torch

from selfstudy.probes import features as room
from selfstudy.probes import knn
from selfstudy.probes.features import DenseFeatures
from selfstudy.probes.results import wilson


def slow_knn(train, labels, test, k, temperature):
    """The definition, one image at a time."""
    answers = []
    for x in test.tolist():
        cosines = []
        for y in train.tolist():
            dot = sum(a * b for a, b in zip(x, y, strict=True))
            cosines.append(dot / math.sqrt(sum(a * a for a in x)) / math.sqrt(sum(b * b for b in y)))
        nearest = sorted(range(len(cosines)), key=lambda i: -cosines[i])[:k]
        votes = {}
        for i in nearest:
            votes[int(labels[i])] = votes.get(int(labels[i]), 0.0) + math.exp(cosines[i] / temperature)
        answers.append(max(votes, key=votes.get))
    return torch.tensor(answers)


def knn_classify(train, labels, test, *, chunk=1024, **settings):
    """The label of every test example; train is tested too, so that test holds every class."""
    made_up = torch.cat([labels[:1].expand(len(test)), labels])
    features = DenseFeatures("x", train, labels, torch.cat([test, train]), made_up)
    nearest = features.nearest
    features.nearest = lambda k: nearest(k, chunk=chunk)
    return labels.unique()[knn.classify(features, **settings)][: len(test)]


@pytest.fixture
def data():
    generator = torch.Generator().manual_seed(0)
    draw = lambda n: torch.randn(n, 6, generator=generator)  # noqa: E731
    return draw(90), torch.randint(0, 5, (90,), generator=generator) * 7 + 3, draw(40)


@pytest.mark.parametrize("k", [1, 5, 20])
@pytest.mark.parametrize("temperature", [0.07, 1.0])
def test_it_equals_the_slow_loop(data, k, temperature):
    train, labels, test = data
    expected = slow_knn(train, labels, test, k, temperature)
    assert torch.equal(knn_classify(train, labels, test, k=k, temperature=temperature), expected)


@pytest.mark.parametrize("block", [8, 64, 1000])
@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_blocks_of_any_size_give_the_same_answer(data, block, chunk, monkeypatch):
    train, labels, test = data
    expected = slow_knn(train, labels, test, 20, 0.07)
    monkeypatch.setattr(room, "_BLOCK", block)
    assert torch.equal(knn_classify(train, labels, test, chunk=chunk), expected)


def test_similarities_held_at_once_do_not_grow_with_either_side(monkeypatch):
    blocks = []
    topk = torch.Tensor.topk
    monkeypatch.setattr(torch.Tensor, "topk", lambda x, *a, **k: blocks.append(x.numel()) or topk(x, *a, **k))
    monkeypatch.setattr(room, "_BLOCK", 4096)
    knn_classify(torch.randn(3000, 4), torch.arange(3000) % 3, torch.randn(500, 4), k=5, chunk=64)
    assert max(blocks) <= 4096


def test_the_scale_of_any_feature_vector_does_not_matter(data):
    train, labels, test = data
    scales = torch.linspace(0.01, 1000, len(train))[:, None]
    assert torch.equal(knn_classify(train * scales, labels, test * 17), knn_classify(train, labels, test))


def test_a_near_neighbour_outvotes_two_far_ones_only_at_a_low_temperature():
    train = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.6, -0.8]])  # cosines 1, 0.6, 0.6: e^(0.4 / T) against 2
    labels, test = torch.tensor([0, 1, 1]), torch.tensor([[1.0, 0.0]])
    assert knn_classify(train, labels, test, k=3, temperature=0.07).tolist() == [0]
    assert knn_classify(train, labels, test, k=3, temperature=1.0).tolist() == [1]


def test_a_tiny_temperature_does_not_overflow(data):
    train, labels, test = data
    assert torch.equal(knn_classify(train, labels, test, temperature=1e-4), knn_classify(train, labels, test, k=1))


def test_more_neighbours_than_images_means_all_of_them_and_the_protocol_says_so():
    draw = torch.Generator().manual_seed(0)
    train, labels, test = torch.randn(7, 6, generator=draw), torch.arange(7) % 2, torch.randn(40, 6, generator=draw)
    assert torch.equal(knn_classify(train, labels, test, k=20), slow_knn(train, labels, test, 7, 0.07))
    score, whitened = knn.measure(DenseFeatures("x", train, labels, test, torch.arange(40) % 2))
    assert score.protocol == (
        "k-NN k=7 (asked for 20, the bank holds 7) T=0.07 cosine, frozen, final model, 7 train / 40 test"
    )
    assert whitened.protocol.startswith("k-NN k=7 (asked for 20, the bank holds 7) T=0.07 cosine, frozen, PCA-whitened")


def test_accuracy_is_in_percent_under_the_protocol_that_names_every_choice():
    labels = torch.arange(200) % 4
    score, whitened = knn.measure(
        DenseFeatures("x", torch.eye(4)[labels], labels, torch.eye(4), torch.tensor([0, 1, 3, 2]))
    )
    assert score[:3] == ("x", "knn", 50.0) and score.interval == wilson(50.0, 4) and score.unit == "%"
    assert score.protocol == "k-NN k=20 T=0.07 cosine, frozen, final model, 200 train / 4 test"
    assert whitened[:3] == ("x", "knn-whitened", 50.0) and "PCA-whitened by 200 of train" in whitened.protocol
