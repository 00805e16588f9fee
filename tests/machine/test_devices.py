"""The device that is chosen, and its fastest precision."""

import pytest
import torch

from selfstudy.errors import EnvironmentFault
from selfstudy.machine.devices import best_device, embedding_device, precision_of


@pytest.fixture
def machine(monkeypatch):
    """Sets which accelerators this machine seems to have."""

    def have(*, cuda=False, mps=False):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)

    return have


@pytest.mark.parametrize(
    ("present", "device"),
    [({}, "cpu"), ({"mps": True}, "mps"), ({"cuda": True}, "cuda"), ({"cuda": True, "mps": True}, "cuda")],
)
def test_auto_is_the_best_device_there_is(machine, present, device):
    machine(**present)
    assert best_device("auto") == (device, "the best this machine has")


def test_a_device_that_was_asked_for_is_taken(machine):
    machine(cuda=True)
    assert best_device("cpu") == ("cpu", "given") and best_device("cuda") == ("cuda", "given")


@pytest.mark.parametrize("asked", ["cuda", "mps"])
def test_a_device_that_is_missing_is_refused(machine, asked):
    machine()
    with pytest.raises(EnvironmentFault) as caught:
        best_device(asked)
    assert str(caught.value) == (
        f"device '{asked}' is not available on this machine\nuse --device auto or --device cpu"
    )


@pytest.mark.parametrize(
    ("given", "accelerator", "device"),
    [(None, None, "cpu"), (None, "xpu", "xpu"), ("cpu", "cuda", "cpu"), (torch.device("cuda:1"), "cuda", "cuda:1")],
)
def test_embeddings_are_made_on_any_accelerator_unless_a_device_is_given(monkeypatch, given, accelerator, device):
    found = accelerator and torch.device(accelerator)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda *, check_available: found)
    assert embedding_device(given) == torch.device(device)


@pytest.mark.parametrize(
    ("device", "fast", "precision"),
    [
        ("cpu", True, None),
        ("cuda", True, ("bf16", "fast on this GPU")),
        ("cuda", False, ("fp32", "bf16 is not faster on this device")),
        ("mps", True, ("fp32", "bf16 is not faster on this device")),
    ],
)
def test_bf16_is_for_gpus_that_have_it_in_hardware(monkeypatch, device, fast, precision):
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda *, including_emulation: fast and not including_emulation
    )
    assert precision_of(device) == precision
