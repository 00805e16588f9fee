"""The precision that is chosen by trying."""

import copy

import pytest
import torch
from torch import nn

from selfstudy.machine import precision
from selfstudy.machine.precision import faster_precision
from tests.methods.small_encoders import ConvNet

IMAGES = torch.rand(2, 3, 8, 8)


def _with_seconds(monkeypatch, single, half):
    """A processor with bfloat16, on which passes take so long."""
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: {"avx512_bf16": True})
    order = iter([single, half] * 10)
    monkeypatch.setattr(precision, "_seconds", lambda run: next(order))


@pytest.mark.parametrize(("half", "chosen"), [(0.05, "bf16"), (0.08, "bf16"), (0.09, "fp32"), (0.2, "fp32")])
def test_bf16_is_chosen_where_it_is_clearly_faster(monkeypatch, half, chosen):
    _with_seconds(monkeypatch, 0.1, half)
    name, reason = faster_precision(ConvNet(), IMAGES)
    assert name == chosen and reason.startswith("tried: ")


@pytest.mark.parametrize(
    ("single", "half", "passes"), [(0.5, 0.1, 8), (0.51, 0.1, 4), (0.1, 0.6, 8)], ids=["short", "long", "long in half"]
)
def test_three_rounds_are_timed_and_one_of_long_passes(monkeypatch, single, half, passes):
    timed = []
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: {"avx512_bf16": True})
    monkeypatch.setattr(precision, "_seconds", lambda run: timed.append(run) or (single, half)[(len(timed) - 1) % 2])
    faster_precision(ConvNet(), IMAGES)
    assert len(timed) == passes  # two of them to warm up


def test_a_speed_up_of_a_fifth_is_enough(monkeypatch):
    _with_seconds(monkeypatch, 1.2, 1.0)
    assert faster_precision(ConvNet(), IMAGES)[0] == "bf16"


def test_a_pass_goes_backward_too_and_leaves_no_gradient(monkeypatch):
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: {"avx512_bf16": True})
    backward, passes, prepared = torch.Tensor.backward, [], []
    monkeypatch.setattr(torch.Tensor, "backward", lambda loss: passes.append(loss.dtype) or backward(loss))
    faster_precision(ConvNet(), IMAGES, prepare=prepared.append)
    assert len(passes) >= 4 and all(weight.grad is None for weight in prepared[0].parameters())


def test_nothing_is_tried_without_bf16_arithmetic(monkeypatch):
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: {"avx512_bf16": False})
    assert faster_precision(nn.Module(), IMAGES) == ("fp32", "this processor has no bfloat16 arithmetic")


def test_the_trial_leaves_encoder_and_random_numbers_as_they_were(monkeypatch):
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: {"avx512_bf16": True})
    encoder, state = ConvNet(), torch.get_rng_state()
    before = copy.deepcopy(encoder.state_dict())
    assert faster_precision(encoder, IMAGES)[0] in ("fp32", "bf16")
    assert all(torch.equal(before[name], value) for name, value in encoder.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state) and all(p.grad is None for p in encoder.parameters())


def test_only_the_half_precision_copy_is_prepared(monkeypatch):
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: {"avx512_bf16": True})
    encoder, prepared, dtypes = ConvNet(), [], []
    encoder.register_forward_hook(lambda module, inputs, output: dtypes.append((module in prepared, output.dtype)))
    faster_precision(encoder, IMAGES, prepare=prepared.append)
    assert len(prepared) == 1 and encoder not in prepared
    assert set(dtypes) == {(False, torch.float32), (True, torch.bfloat16)}
