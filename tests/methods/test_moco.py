"""MoCo: which keys its loss sees, and when the queue and the key encoder move."""

import copy
import math

import pytest
import torch
from torch.nn.functional import normalize

from selfstudy.methods.moco import MoCo
from selfstudy.ops.contrastive import info_nce
from selfstudy.ops.schedules import Progress
from tests.methods.small_encoders import ConvNet

SMALL = {"hidden_dim": 16, "projection_dim": 8, "queue_size": 20}

NOW = Progress(0, 10)


def _method(**options):
    torch.manual_seed(0)
    config = MoCo.Config(hidden_dim=16, projection_dim=8, queue_size=20, temperature=0.3, momentum=0.9, **options)
    return MoCo(ConvNet(), config)


def _views():
    return [torch.randn(6, 3, 16, 16, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1)]


def _one_way(method, query_view, key_view, queue):
    """Equation 1 for one direction."""
    return info_nce(method.projector(method.encoder(query_view)), method.teacher(key_view), queue, 0.3)


@pytest.mark.parametrize("symmetric", [True, False])
def test_the_loss_is_info_nce_against_the_queue_as_it_was(symmetric):
    method, (first, second) = _method(symmetric=symmetric), _views()
    again, before = copy.deepcopy(method), method.queue.items.clone()
    loss = method([first, second], NOW).loss
    wanted = _one_way(again, first, second, before)
    if symmetric:
        wanted = (wanted + _one_way(again, second, first, before)) / 2
    torch.testing.assert_close(loss, wanted)


def test_the_keys_of_the_second_view_join_the_queue_after_the_loss():
    method, (first, second) = _method(), _views()
    keys = normalize(copy.deepcopy(method).teacher(second), dim=1)
    old = method.queue.items.clone()
    method([first, second], NOW)
    torch.testing.assert_close(method.queue.items[:6], keys)
    assert torch.equal(method.queue.items[6:], old[6:]) and int(method.queue.pointer) == 6


def test_the_key_encoder_moves_by_equation_2():
    method = _method()
    with torch.no_grad():
        for parameter in method.encoder.parameters():
            parameter.add_(1.0)
    before = [p.clone() for p in method.teacher.parameters()]
    method.after_step(NOW)
    source = [*method.encoder.parameters(), *method.projector.parameters()]
    for old, new, goal in zip(before, method.teacher.parameters(), source, strict=True):
        torch.testing.assert_close(new, 0.9 * old + 0.1 * goal)


def test_the_chance_loss_counts_the_positive_and_the_queue():
    assert _method().chance_loss(6) == (pytest.approx(math.log(21)), "ln(K + 1)")
