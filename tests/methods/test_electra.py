"""ELECTRA: both losses, what the encoder sees, and what must not flow back into the generator."""

import math

import pytest
import torch

from selfstudy.errors import UsageError
from selfstudy.methods.electra import ELECTRA, replaced_loss
from selfstudy.ops.schedules import Progress
from tests.methods.contract import views_for
from tests.methods.small_encoders import VOCABULARY, text

SMALL = {"mask_rate": 0.3}
NOW = Progress(1, 10)


def _method(**settings):
    torch.manual_seed(0)
    return ELECTRA(text("modernbert", head=False), ELECTRA.Config(**SMALL | settings)).eval()


def test_the_loss_is_the_papers_token_by_token():
    scores = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    replaced = torch.tensor([[1, 0, 0, 1], [0, 0, 0, 0], [1, 1, 1, 0]], dtype=torch.bool)
    total = 0.0
    for row, flags in zip(scores, replaced, strict=True):
        for score, flag in zip(row, flags, strict=True):
            probability = 1 / (1 + math.exp(-float(score)))
            total -= math.log(probability if flag else 1 - probability)
    assert float(replaced_loss(scores, replaced)) == pytest.approx(total / 12, rel=1e-9)
    assert float(replaced_loss(torch.zeros(2, 2), replaced[:2, :2])) == pytest.approx(math.log(2))


def test_the_encoder_sees_the_generators_guesses_and_is_asked_about_every_token():
    method, views = _method(weight=2.0), views_for(ELECTRA)
    shown = []
    method.encoder.network.register_forward_pre_hook(
        lambda module, args, kwargs: shown.append(kwargs["input_ids"]), with_kwargs=True
    )
    output = method(views, NOW)
    changed = shown[0] != views[0]
    assert 0 < int(changed.sum()) <= 6 * 4 and not (shown[0] == VOCABULARY.mask)[changed].all()
    with torch.no_grad():
        segments = (views[0] == VOCABULARY.eos).cumsum(1)
        scores = method.head(method.encoder.states(shown[0], segments))[..., 0]
    wanted = output.metrics["generator_loss"] + 2.0 * replaced_loss(scores, changed)
    torch.testing.assert_close(output.loss.detach(), wanted)


def test_the_encoders_loss_does_not_reach_the_generator():
    gradients = []
    for weight in (1e-9, 50.0):
        method = _method(weight=weight)
        method(views_for(ELECTRA), NOW).loss.backward()
        gradients.append([p.grad.clone() for p in method.generator.parameters()])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


def test_an_encoder_that_sees_what_came_before_is_refused():
    with pytest.raises(UsageError, match="ELECTRA cannot train an encoder that sees what came before"):
        ELECTRA(text("llama", head=False))
