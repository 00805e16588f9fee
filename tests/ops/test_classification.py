"""Cross entropy and accuracy row by row."""

import math

import pytest
import torch

from selfstudy.ops.classification import accuracy, cross_entropy


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
