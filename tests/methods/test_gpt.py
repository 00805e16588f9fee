"""GPT: every token from those before it in its own document."""

import math

import pytest
import torch

from selfstudy.methods.gpt import GPT
from selfstudy.ops.schedules import Progress
from tests.methods.contract import views_for
from tests.methods.small_encoders import VOCABULARY, text

SMALL = {}
NOW = Progress(1, 10)


def _method(layout="gpt2", **settings):
    torch.manual_seed(0)
    return GPT(text(layout, head=True), GPT.Config(**settings)).eval()


@pytest.mark.parametrize("layout", ["gpt2", "llama"])
def test_the_loss_is_that_of_each_document_alone_token_by_token(layout):
    method, (ids,) = _method(layout), views_for(GPT)
    ids[0, 4] = ids[1, 0] = VOCABULARY.eos
    losses = []
    for row in ids:
        begin = 0
        for t in range(1, len(row)):
            if row[t - 1] == VOCABULARY.eos:
                begin = t - 1
            logits = method.encoder.logits(method.encoder.states(row[None, begin:t]))[0, -1]
            losses.append(-float(logits.log_softmax(0)[row[t]].detach()))
    assert float(method([ids], NOW).loss.detach()) == pytest.approx(sum(losses) / len(losses), rel=1e-5)


def test_across_documents_all_of_a_row_is_seen():
    ids = views_for(GPT)[0]
    ids[:, 4] = VOCABULARY.eos
    method = _method(across_documents=True)
    logits = method.encoder.network(input_ids=ids[:, :-1]).logits
    wanted = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
    torch.testing.assert_close(method([ids], NOW).loss, wanted)
    assert not torch.allclose(_method()([ids], NOW).loss, wanted)


def test_uniform_logits_cost_the_chance_loss():
    method = _method()
    torch.nn.init.zeros_(method.encoder.network.get_output_embeddings().weight)
    chance, formula = method.chance_loss(6)
    assert formula == "ln V" and chance == pytest.approx(math.log(30))
    assert float(method(views_for(GPT), NOW).loss.detach()) == pytest.approx(chance, rel=1e-5)
