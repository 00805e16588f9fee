"""BERT: what is hidden and how, and that only hidden tokens count."""

import math

import pytest
import torch

from selfstudy.methods.bert import BERT
from selfstudy.ops.schedules import Progress
from tests.methods.contract import views_for
from tests.methods.small_encoders import VOCABULARY, text

SMALL = {"mask_rate": 0.3}
NOW = Progress(1, 10)


def _method(layout="modernbert", **settings):
    torch.manual_seed(0)
    return BERT(text(layout, head=True), BERT.Config(**SMALL | settings)).eval()


def _views(rows=6, seed=0):
    ids, draws = views_for(BERT, batch=rows, seed=seed)
    ids[:, 0], ids[:, -1] = VOCABULARY.cls, VOCABULARY.sep
    return [ids, draws]


def test_the_loss_is_the_cross_entropy_of_the_hidden_tokens_row_by_row():
    method, (ids, draws) = _method(random_share=0.3), _views()
    losses = []
    method.requires_grad_(False)
    for row in range(6):
        order, fate, other = draws[row].view(3, -1)
        candidates = [t for t in range(12) if int(ids[row, t]) > 5]
        hidden = sorted(candidates, key=lambda t: float(order[t]))[:4]  # 0.3 of 12, rounded
        shown = ids[row].clone()
        for t in hidden:
            if fate[t] >= 0.4:
                shown[t] = VOCABULARY.mask
            elif fate[t] >= 0.1:
                shown[t] = [1, *range(6, 30)][int(other[t] * 25)]
        segments = (ids[row] == VOCABULARY.eos).cumsum(0)[None]
        logits = method.encoder.logits(method.encoder.states(shown[None], segments))[0]
        losses += [-float(logits[t].log_softmax(0)[ids[row, t]]) for t in hidden]
    assert float(method([ids, draws], NOW).loss) == pytest.approx(sum(losses) / len(losses), rel=1e-5)


def test_special_tokens_are_hidden_last_and_never_shown_in_place_of_another():
    method, (ids, draws) = _method(mask_rate=0.5, keep_share=0.0, random_share=0.999), _views(rows=64)
    seen = []
    method.encoder.network.model.register_forward_hook(
        lambda module, args, kwargs, output: seen.append(kwargs["input_ids"]), with_kwargs=True
    )
    method([ids, draws], NOW)
    changed = seen[0] != ids
    assert not (changed & (ids <= 5) & (ids != 1)).any() and changed.any()
    assert ((seen[0] > 5) | (seen[0] == 1) | ~changed | (seen[0] == VOCABULARY.mask)).all()


def test_whole_words_are_hidden_together_except_the_last():
    method, (ids, draws) = _method(whole_words=True, keep_share=0.0, random_share=0.0), _views(rows=32)
    ids[:, 1:-1] = torch.tensor([8, 9, 9, 9, 8, 9, 8, 9, 9, 8])  # even ids begin a word
    seen = []
    method.encoder.network.model.register_forward_hook(
        lambda module, args, kwargs, output: seen.append(kwargs["input_ids"]), with_kwargs=True
    )
    method([ids, draws], NOW)
    hidden = seen[0] == VOCABULARY.mask
    assert (hidden.sum(dim=1) == 4).all()
    words = [(1, 5), (5, 7), (7, 10), (10, 11)]
    partly = sum(int(0 < int(row[a:b].sum()) < b - a) for row in hidden for a, b in words)
    assert partly <= 32 and sum(int(row[1:5].all()) for row in hidden) > 0


def test_uniform_logits_cost_the_chance_loss():
    method = _method()
    torch.nn.init.zeros_(method.encoder.network.get_output_embeddings().weight)
    chance, formula = method.chance_loss(6)
    assert formula == "ln V" and chance == pytest.approx(math.log(30))
    assert float(method(_views(), NOW).loss.detach()) == pytest.approx(chance, rel=1e-5)
