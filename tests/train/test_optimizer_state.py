import json
import math

import pytest
import torch
from torch import nn

from selfstudy.train.optimizer_state import join_state, split_state


def _round_trip(state):
    tensors, structure = split_state(state)
    return join_state(json.loads(json.dumps(structure, allow_nan=False)), dict(tensors))


def _same(a, b):
    """Equal in type, bits and memory layout, all the way down."""
    if isinstance(a, torch.Tensor):
        bits = [tensor.contiguous().reshape(-1).view(torch.uint8) for tensor in (a, b)]
        return a.dtype == b.dtype and a.shape == b.shape and a.stride() == b.stride() and torch.equal(*bits)
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(_same, a, b))
    return repr(a) == repr(b)


def _optimizers(parameters):
    yield torch.optim.AdamW(parameters, lr=0.1, betas=(0.9, 0.95), amsgrad=True)
    yield torch.optim.AdamW(parameters, lr=torch.tensor(0.1, dtype=torch.float64), foreach=False, capturable=False)
    yield torch.optim.SGD(parameters, lr=1 / 3, momentum=0.9, nesterov=True, fused=True)
    yield torch.optim.SGD(parameters, lr=1e-45)  # no state beyond a None
    yield torch.optim.Adagrad(parameters)
    yield torch.optim.Rprop(parameters)


@pytest.mark.parametrize("number", range(6))
def test_the_state_of_torch_optimizers_comes_back_bit_for_bit(number):
    torch.manual_seed(0)
    network = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    optimizer = list(_optimizers(list(network.parameters())))[number]

    def closure():
        optimizer.zero_grad()
        loss = network(torch.ones(2, 3, 5, 5)).square().mean()
        loss.backward()
        return loss

    for _ in range(2):
        optimizer.step(closure)
    state = optimizer.state_dict()
    assert _same(state, _round_trip(state))
    optimizer.load_state_dict(_round_trip(state))
    optimizer.step(closure)


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        0,
        10**30,
        0.1,
        -0.0,
        5e-324,
        1.7976931348623157e308,
        math.inf,
        -math.inf,
        math.nan,
        1.0,
        "text",
        "!tensor",
        (),
        (0.9, (1, [2.0, None])),
        [[], {}],
        {1: "a", "1": "b", 0: {}},
        {"!tuple": [1]},
        {"!tensor": 1, "a": 2},
        {"a.b": torch.ones(1), "a": {"b": torch.zeros(1)}},
        [torch.tensor(3.0), torch.tensor(3)],
    ],
    ids=repr,
)
def test_plain_data_comes_back_as_the_same_type_and_value(value):
    assert _same({"x": value}, _round_trip({"x": value}))


ALL_TYPES = [value for value in vars(torch).values() if isinstance(value, torch.dtype) and not value.is_complex]
SIMPLE_TYPES = sorted({str(d): d for d in ALL_TYPES if d.itemsize <= 8 and "q" not in str(d)}.items())


@pytest.mark.parametrize("shape", [(), (0,), (3, 4)])
@pytest.mark.parametrize("name", [name for name, _ in SIMPLE_TYPES if "uint1to7" not in name] + ["torch.complex128"])
def test_tensors_of_every_type_come_back(name, shape):
    dtype = getattr(torch, name.removeprefix("torch."))
    count = math.prod(shape) * dtype.itemsize
    raw = torch.arange(count, dtype=torch.uint8) % 2
    tensor = raw.view(dtype).reshape(shape)
    assert _same({"x": tensor}, _round_trip({"x": tensor}))


def test_the_memory_layout_comes_back_except_for_overlapping_tensors():
    state = {
        "channels_last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "transposed": torch.randn(3, 4).t(),
    }
    assert _same(state, _round_trip(state))
    expanded = torch.ones(1, 3).expand(4, 3)
    assert torch.equal(_round_trip({"x": expanded})["x"], expanded)


def test_a_value_that_is_not_plain_data_is_refused_with_its_place():
    with pytest.raises(TypeError, match="holds a object at 'state.0.hook'; plain data is needed"):
        split_state({"state": {0: {"hook": object()}}})


def test_missing_and_surplus_tensors_are_named():
    tensors, structure = split_state({"state": {0: {"exp_avg": torch.ones(2)}}})
    with pytest.raises(ValueError, match="lacks '0.state.0.exp_avg'"):
        join_state(structure, {})
    with pytest.raises(ValueError, match="holds 'more', which nothing refers to"):
        join_state(structure, tensors | {"more": torch.ones(1)})


@pytest.mark.parametrize(
    "structure",
    [
        None,
        [],
        {"!dict": 3},
        {"!tensor": []},
        {"!tuple": None},
        {"!float": "x"},
        {"!tensor": "t", "dtype": "os"},
        {"!tensor": "t", "dtype": "nn"},
        {"!tensor": "t", "dtype": "float32", "shape": [10**9]},
        {"!tensor": "t", "stride": [10**9]},
        {"!tensor": "t", "stride": [-1]},
        {"!tensor": "t", "stride": [0]},
    ],
    ids=repr,
)
def test_a_structure_that_makes_no_sense_is_refused(structure):
    with pytest.raises((ValueError, TypeError, RuntimeError)):
        join_state(structure, {"t": torch.arange(8, dtype=torch.uint8)})
