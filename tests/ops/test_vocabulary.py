"""The loss of a vocabulary against the plain one."""

import pytest
import torch
from torch import nn

from selfstudy.ops import vocabulary
from selfstudy.ops.classification import accuracy, cross_entropy
from selfstudy.ops.vocabulary import vocabulary_loss


class Head(nn.Module):
    """A head with a layer that is used twice, and one that is not used."""

    def __init__(self):
        super().__init__()
        self.inner, self.outer, self.unused = nn.Linear(4, 4), nn.Linear(4, 9), nn.Linear(4, 4)
        self.frozen = nn.Parameter(torch.ones(9), requires_grad=False)

    def forward(self, states):
        return self.outer(torch.tanh(self.inner(torch.tanh(self.inner(states))))) * self.frozen


def whole(head, states, answers):
    scores = head(states)
    return cross_entropy(scores, answers), accuracy(scores, answers)


def in_parts(head, states, answers):
    return vocabulary_loss(head, states, answers, 9, head.parameters())


def figures(of, dtype=torch.float64, *, half=False):
    """Loss, accuracy and every gradient, with states that the head's input layer made."""
    torch.manual_seed(0)
    head, before = Head().to(dtype), nn.Linear(4, 4).to(dtype)
    answers = torch.arange(13) % 9
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        loss, right = of(head, before(torch.randn(13, 4, dtype=dtype)), answers)
    (3 * loss).backward()
    return loss.detach(), right, *(value.grad for value in (*before.parameters(), *head.parameters()))


@pytest.mark.parametrize("held", [1, 40, 45, 10_000])
def test_value_and_gradients_are_those_of_the_plain_loss(held, monkeypatch):
    monkeypatch.setattr(vocabulary, "_SCORES", held)
    found, plain = figures(in_parts), figures(whole)
    if held < 10_000:  # the accuracy is that of a first part
        found, plain = found[:1] + found[2:], plain[:1] + plain[2:]
    torch.testing.assert_close(found, plain, rtol=1e-12, atol=1e-12)


def test_autocast_changes_no_more_than_it_does_to_the_plain_loss(monkeypatch):
    monkeypatch.setattr(vocabulary, "_SCORES", 40)
    found, plain = (figures(of, torch.float32, half=True) for of in (in_parts, whole))
    assert found[0].dtype == torch.float32
    torch.testing.assert_close(found[2:], plain[2:], rtol=3e-2, atol=3e-2)
    torch.testing.assert_close(found[0], plain[0], rtol=1e-2, atol=1e-2)


def test_very_large_scores_neither_overflow_nor_hide_the_answer():
    states = torch.tensor([[1e4, -1e4, 0.0]]).requires_grad_()
    loss, right = vocabulary_loss(lambda s: s * 1.0, states, torch.tensor([1]), 3, [])
    loss.backward()
    assert loss.item() == 2e4 and right.item() == 0
    torch.testing.assert_close(states.grad, torch.tensor([[1.0, -1.0, 0.0]]))


def test_without_gradients_none_are_made():
    head = Head()
    with torch.no_grad():
        loss, _ = in_parts(head, torch.randn(13, 4), torch.arange(13) % 9)
    assert not loss.requires_grad


def test_no_part_of_the_scores_is_larger_than_what_may_be_held(monkeypatch):
    monkeypatch.setattr(vocabulary, "_SCORES", 40)
    seen = []
    with torch.no_grad():
        vocabulary_loss(
            lambda s: seen.append(len(s)) or s.new_zeros(len(s), 9),
            torch.zeros(13, 4),
            torch.zeros(13, dtype=torch.int64),
            9,
            [],
        )
    assert seen == [4, 4, 4, 1]
