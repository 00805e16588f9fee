"""NNCLR: whose neighbours are the positives of whom, and what joins the queue when."""

import copy
import math

import pytest
import torch
from torch.nn.functional import normalize

from selfstudy.methods.base import DataFacts
from selfstudy.methods.nnclr import NNCLR, nearest
from selfstudy.ops.schedules import Progress
from tests.methods.small_encoders import ConvNet

SMALL = {"hidden_dim": 16, "predictor_dim": 16, "projection_dim": 8, "queue_size": 20}

NOW = Progress(0, 10)


def _random(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def _method():
    torch.manual_seed(0)
    return NNCLR(ConvNet(), NNCLR.Config(**SMALL, temperature=0.3))


def _views():
    return [_random(6, 3, 16, 16), _random(6, 3, 16, 16, seed=1)]


def slow_nearest(z, support):
    """Eq. 4: the smallest distance between vectors of unit length."""
    return torch.stack([min(support, key=lambda q: float((normalize(each, dim=0) - q).norm())) for each in z])


def slow_loss(neighbours, predictions, t):
    """Eq. 3 with the predictor, neighbour by neighbour."""
    p, total = normalize(predictions.double(), dim=1), 0.0
    for i, neighbour in enumerate(neighbours.double()):
        own = math.exp(float(neighbour @ p[i]) / t)
        total -= math.log(own / sum(math.exp(float(neighbour @ other) / t) for other in p))
    return total / len(p)


def _heads(method, view):
    z = method.projector(method.encoder(view))
    return z.detach(), method.predictor(z).detach()


def test_nearest_is_equation_4():
    z, support = 3 * _random(9, 5), normalize(_random(20, 5, seed=1), dim=1)
    assert torch.equal(nearest(z, support), slow_nearest(z, support))


def test_nearest_by_hand_looks_at_direction_and_not_at_length():
    support = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    found = nearest(torch.tensor([[0.1, 9.0], [-5.0, 4.0]]), support)
    assert torch.equal(found, support[[1, 2]])


def test_the_loss_is_equation_3_in_both_directions_with_the_queue_as_it_was():
    method, (first, second) = _method(), _views()
    again, before = copy.deepcopy(method), method.queue.items.clone()
    loss = method([first, second], NOW).loss.detach()
    (z_first, p_first), (z_second, p_second) = _heads(again, first), _heads(again, second)
    one = slow_loss(slow_nearest(z_first, before), p_second, 0.3)
    other = slow_loss(slow_nearest(z_second, before), p_first, 0.3)
    assert float(loss) == pytest.approx((one + other) / 2, rel=1e-6)


def test_the_first_view_joins_the_queue_after_the_loss():
    method, (first, second) = _method(), _views()
    projections = normalize(_heads(copy.deepcopy(method), first)[0], dim=1)
    old = method.queue.items.clone()
    method([first, second], NOW)
    torch.testing.assert_close(method.queue.items[:6], projections)
    assert torch.equal(method.queue.items[6:], old[6:]) and int(method.queue.pointer) == 6


def test_an_image_seen_again_is_its_own_neighbour():
    """With the same images as in the queue, in eval mode, the similarity to the neighbour is 1."""
    method, views = _method().eval(), _views()
    method.queue.push(normalize(_heads(method, views[0])[0], dim=1))
    assert float(method(views, NOW).metrics["neighbour_similarity"]) == pytest.approx(1.0, rel=1e-5)


def test_neighbours_carry_no_gradient_so_that_only_predictions_train():
    """Without the path through the predictor nothing of the loss is left."""
    method = _method()
    for parameter in method.predictor.parameters():
        torch.nn.init.zeros_(parameter)
    method(_views(), NOW).loss.backward()
    assert all(float(p.grad.abs().sum()) == 0 for p in method.encoder.parameters())
    assert not nearest(_random(2, 3).requires_grad_(), _random(4, 3)).requires_grad


def test_the_heads_are_the_papers():
    method = _method()
    widths = [[m.out_features for m in head if isinstance(m, torch.nn.Linear)] for head in _modules(method)]
    assert widths == [[16, 16, 8], [16, 8]]
    assert isinstance(method.projector[-1], torch.nn.BatchNorm1d) and isinstance(method.predictor[-1], torch.nn.Linear)


def _modules(method):
    return method.projector, method.predictor


def test_the_chance_loss_is_that_of_equal_predictions():
    same = normalize(torch.ones(6, 8), dim=1)
    assert _method().chance_loss(6) == (pytest.approx(slow_loss(same, same, 0.3)), "ln B")


@pytest.mark.parametrize(("images", "batch", "queue"), [(50_000, 256, 6144), (1_300_000, 4096, 98304), (100, 16, 16)])
def test_the_queue_is_24_batches_and_an_eighth_of_the_images_at_most(images, batch, queue):
    assert NNCLR.recipe(DataFacts(images, (32, 32), 3, batch, 300)).method["queue_size"] == queue


def test_small_images_are_not_blurred():
    assert NNCLR.default_views((32, 32))[0].blur == 0 and NNCLR.default_views((224, 224))[0].blur == 0.5


def test_nearest_equals_lightlys_memory_bank():
    """lightly's bank holds its items as columns."""
    modules = pytest.importorskip("lightly.models.modules")
    z, support = _random(9, 5), normalize(_random(20, 5, seed=1), dim=1)
    bank = modules.NNMemoryBankModule(size=(20, 5))
    bank.bank, bank.bank_ptr = support.T.clone() if _holds_columns(bank) else support.clone(), torch.zeros(1).long()
    torch.testing.assert_close(nearest(z, support), bank(z, update=False))


def _holds_columns(bank):
    return bank.bank.shape == (5, 20)
