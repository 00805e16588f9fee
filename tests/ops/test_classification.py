"""Cross entropy and accuracy row by row."""

import math

import pytest
import torch

from selfstudy.ops import classification
from selfstudy.ops.classification import accuracy, cross_entropy, vocabulary_loss


def test_cross_entropy_is_its_definition():
    logits = torch.randn(7, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    answers = [0, 4, 2, 2, 1, 3, 0]
    total = 0.0
    for row, answer in zip(logits.tolist(), answers, strict=True):
        total -= math.log(math.exp(row[answer]) / sum(math.exp(value) for value in row))
    assert float(cross_entropy(logits, torch.tensor(answers))) == pytest.approx(total / 7, rel=1e-12)


def test_cross_entropy_by_hand():
    logits = torch.tensor([[math.log(3.0), 0.0], [0.0, 0.0]])
    assert float(cross_entropy(logits, torch.tensor([0, 1]))) == pytest.approx((math.log(4 / 3) + math.log(2)) / 2)


def test_accuracy_by_hand():
    logits = torch.tensor([[1.0, 2.0, 0.0], [3.0, 2.0, 0.0], [0.0, 0.0, 1.0], [5.0, 0.0, 0.0]])
    assert float(accuracy(logits, torch.tensor([1, 0, 0, 0]))) == 0.75


def test_the_loss_stays_in_float32_for_half_precision():
    with torch.autocast("cpu", torch.bfloat16):
        assert cross_entropy(torch.randn(3, 4).to(torch.bfloat16), torch.tensor([0, 1, 2])).dtype == torch.float32


@pytest.mark.parametrize("held", [1, 40, 45, 10_000])
@pytest.mark.parametrize("half", [False, True])
def test_the_loss_of_a_vocabulary_is_the_same_in_parts(held, half, monkeypatch):
    monkeypatch.setattr(classification, "_SCORES", held)
    generator = torch.Generator().manual_seed(0)
    states, weight = torch.randn(13, 4, generator=generator), torch.randn(9, 4, generator=generator)
    answers = torch.arange(13) % 9

    def gradients(loss_of):
        inputs = [states.clone().requires_grad_(), weight.clone().requires_grad_()]
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            loss, right = loss_of(*inputs)
        loss.backward()
        return loss.detach(), right, *(value.grad for value in inputs)

    def whole(some, weights):
        scores = some @ weights.T
        return cross_entropy(scores, answers), accuracy(scores, answers)

    found = gradients(lambda some, weights: vocabulary_loss(lambda s: s @ weights.T, some, answers, 9))
    tolerance = {"atol": 2e-2, "rtol": 2e-2} if half else {"atol": 1e-6, "rtol": 1e-5}
    torch.testing.assert_close(found, gradients(whole), **tolerance)


def test_no_part_of_the_scores_is_larger_than_what_may_be_held(monkeypatch):
    monkeypatch.setattr(classification, "_SCORES", 40)
    seen = []
    vocabulary_loss(
        lambda s: seen.append(len(s) * 9) or s.new_zeros(len(s), 9),
        torch.zeros(13, 4),
        torch.zeros(13, dtype=torch.int64),
        9,
    )
    assert max(seen[:-1]) <= 40 and len(seen) == 5  # of 4, 4, 4 and 1 rows, and of those whose accuracy is told
