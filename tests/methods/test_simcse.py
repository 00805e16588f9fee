"""SimCSE: the same sentence under two dropout masks against the others."""

import math

import pytest
import torch

from selfstudy.errors import UsageError
from selfstudy.methods.simcse import SimCSE
from selfstudy.ops.schedules import Progress
from tests.methods.contract import views_for
from tests.methods.small_encoders import VOCABULARY, text

SMALL = {"temperature": 0.2}
NOW = Progress(1, 10)


def _method(**settings):
    torch.manual_seed(0)
    return SimCSE(text("modernbert", head=False), SimCSE.Config(**SMALL | settings))


def test_the_loss_is_equation_4_sentence_by_sentence():
    """Without dropout both embeddings of a sentence are one."""
    method, (ids, draws) = _method().eval(), views_for(SimCSE)
    with torch.no_grad():
        h = [row / row.norm() for row in method.projector(method.encoder(ids)).double()]
    losses = []
    for i in range(6):
        scores = [math.exp(float(h[i] @ h[j]) / 0.2) for j in range(6)]
        losses.append(-math.log(scores[i] / sum(scores)))
    assert float(method([ids, draws], NOW).loss.detach()) == pytest.approx(sum(losses) / 6, rel=1e-5)


def test_an_encoder_that_sees_what_came_before_is_refused():
    with pytest.raises(UsageError, match="SimCSE cannot train an encoder that sees what came before"):
        SimCSE(text("llama", head=False))


def test_dropout_makes_the_two_differ():
    from selfstudy.encoders.text import build_text_encoder

    changes = {"width": 16, "depth": 2, "heads": 2}
    torch.manual_seed(0)
    encoder = build_text_encoder("bert-tiny", VOCABULARY, head=False, context=13, changes=changes, dropout=0.3)
    seen = []
    method = SimCSE(encoder)
    method.projector.register_forward_hook(lambda module, args, output: seen.append(output.detach()))
    method(views_for(SimCSE), NOW)
    first, second = seen[0].chunk(2)
    assert not torch.allclose(first, second)


@pytest.mark.parametrize(("shared", "first", "second"), [(1.0, 1.0, 0.0), (0.2, 0.6, 0.4), (0.0, 0.5, 0.5)])
def test_every_token_is_in_one_view_or_in_both_and_special_ones_always(shared, first, second):
    method, (ids, draws) = _method(shared=shared), views_for(SimCSE)
    ids[2, 7:] = VOCABULARY.pad
    ids[:, 0] = VOCABULARY.cls
    views = method._views(ids, draws)
    special = torch.isin(ids, torch.tensor([number for number in VOCABULARY[1:] if number is not None]))
    chosen = [(draws < first) | special, (draws >= second) | special]
    assert (chosen[0] | chosen[1]).all()
    rows = [row[stays & (row != VOCABULARY.pad)] for part in chosen for row, stays in zip(ids, part, strict=True)]
    assert views.shape == (12, max(map(len, rows)))
    for view, row in zip(views, rows, strict=True):
        assert torch.equal(view[: len(row)], row) and (view[len(row) :] == VOCABULARY.pad).all()


def test_rows_of_similar_length_together_give_what_all_rows_give():
    method, (ids, _) = _method().eval(), views_for(SimCSE)
    for row, length in enumerate((9, 3, 12, 5, 12, 1)):
        ids[row, length:] = VOCABULARY.pad
    widths = []
    expected = method.encoder(ids)
    method.encoder.register_forward_pre_hook(lambda module, args: widths.append(args[0].shape[1]))
    assert torch.allclose(method._embeddings(ids), expected, atol=1e-6)
    assert widths == [3, 9, 12]


def test_equal_embeddings_cost_the_chance_loss():
    method = _method()
    torch.nn.init.zeros_(method.projector[0].weight)
    chance, formula = method.chance_loss(6)
    assert formula == "ln B" and float(method(views_for(SimCSE), NOW).loss.detach()) == pytest.approx(chance, rel=1e-5)
