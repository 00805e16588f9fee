"""The order of inputs is a function of seed and step alone."""

import pytest
import torch

from selfstudy.data.order import EpochOrder
from selfstudy.errors import DataError


def test_an_epoch_holds_every_input_at_most_once_and_every_epoch_differs():
    order = EpochOrder(seed=3, n=103, batch_size=10)
    epochs = [torch.cat([order.batch(e * 10 + s)[1] for s in range(10)]) for e in range(2)]
    assert all(len(epoch.unique()) == 100 for epoch in epochs)
    assert not torch.equal(*epochs)


def test_a_step_can_be_asked_for_in_any_order():
    straight, jumping = EpochOrder(1, 50, 8), EpochOrder(1, 50, 8)
    wanted = {step: straight.batch(step)[1] for step in range(20)}
    for step in (19, 0, 7, 6, 13):
        assert torch.equal(jumping.batch(step)[1], wanted[step])


def test_fewer_inputs_than_a_batch_say_both_numbers():
    with pytest.raises(DataError, match=r"found 5 inputs, batch size 8\nuse --batch-size 5 or less, or add inputs"):
        EpochOrder(0, 5, 8)
    assert EpochOrder(0, 8, 8).steps_per_epoch == 1
