"""The way of a tensor to the device that trains."""

from unittest.mock import Mock, call

import torch

from selfstudy.ops.devices import to_device


def test_a_gpu_gets_a_pinned_copy_that_is_not_waited_for():
    tensor, device = Mock(), torch.device("cuda", 0)
    to_device(tensor, device)
    assert tensor.mock_calls == [call.pin_memory(), call.pin_memory().to(device, non_blocking=True)]


def test_other_devices_are_waited_for():
    tensor, device = Mock(), torch.device("mps")
    to_device(tensor, device)
    assert tensor.mock_calls == [call.to(device)]


def test_a_tensor_that_is_there_already_is_not_copied():
    tensor = torch.zeros(3)
    assert to_device(tensor, torch.device("cpu")) is tensor
