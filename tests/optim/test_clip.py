"""Gradient clipping, together and one by one: by hand, and bit for bit where nothing is scaled."""

import pytest
import torch
from torch import nn

from selfstudy.optim.clip import CLIPS, clip_each, clip_together


def _with_gradients(*gradients):
    parameters = [nn.Parameter(torch.zeros(len(gradient))) for gradient in gradients]
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = torch.tensor(gradient)
    return [nn.Parameter(torch.zeros(2)), *parameters]


def test_gradients_are_scaled_to_the_largest_norm_together():
    parameters = _with_gradients([3.0, 0.0], [0.0, 4.0])
    assert clip_together(iter(parameters), 1.0).item() == 5.0
    torch.testing.assert_close(parameters[1].grad, torch.tensor([0.6, 0.0]))
    torch.testing.assert_close(parameters[2].grad, torch.tensor([0.0, 0.8]))


@pytest.mark.parametrize("largest", [0.0, 5.1])
def test_gradients_within_the_norm_or_without_a_limit_are_left_bit_for_bit(largest):
    parameters = _with_gradients([3.0, 0.0], [0.0, 4.0])
    assert clip_together(parameters, largest).item() == 5.0
    assert parameters[1].grad.tolist() == [3.0, 0.0] and parameters[2].grad.tolist() == [0.0, 4.0]


def test_the_norm_shows_a_gradient_that_is_not_finite():
    assert torch.isnan(clip_together(_with_gradients([float("nan"), 1.0]), 1.0))
    assert torch.isinf(clip_together(_with_gradients([float("inf"), 1.0]), 0.0))


def test_no_gradients_have_norm_zero():
    assert clip_together([nn.Parameter(torch.ones(2))], 1.0).item() == 0.0


def test_each_gradient_is_scaled_to_the_largest_norm_of_its_own():
    parameters = _with_gradients([3.0, 0.0], [0.0, 0.5])
    assert clip_each(iter(parameters), 1.0).item() == pytest.approx(9.25**0.5)
    torch.testing.assert_close(parameters[1].grad, torch.tensor([1.0, 0.0]), atol=1e-5, rtol=0)
    assert parameters[2].grad.tolist() == [0.0, 0.5]


def test_without_a_limit_no_gradient_is_scaled_by_itself():
    parameters = _with_gradients([3.0, 0.0], [0.0, 4.0])
    assert clip_each(parameters, 0.0).item() == 5.0 and parameters[1].grad.tolist() == [3.0, 0.0]


def test_each_way_has_the_name_of_its_setting():
    assert CLIPS == {"all": clip_together, "each": clip_each}
