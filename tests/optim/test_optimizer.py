"""Optimizers by name: their groups, settings and kernels."""

import pytest
import torch
from torch import nn

from selfstudy.errors import UsageError
from selfstudy.optim.groups import ParameterGroup, parameter_groups
from selfstudy.optim.optimizer import build_optimizer


def _network():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))


@pytest.mark.parametrize("name", ["adamw", "sgd", "lars", "larc"])
def test_groups_keep_their_order_and_only_those_that_decay_do(name):
    groups = parameter_groups(_network())
    decayed, plain = build_optimizer(groups, name=name, lr=0.1, weight_decay=0.05).param_groups
    assert decayed["decay"] is True and decayed["weight_decay"] == 0.05
    assert plain["decay"] is False and plain["weight_decay"] == 0.0
    assert [group["params"] for group in (decayed, plain)] == [group.parameters for group in groups]


def test_settings_reach_the_optimizer():
    groups = parameter_groups(_network())
    adamw = build_optimizer(groups, name="adamw", lr=0.1, weight_decay=0.05, beta2=0.7)
    assert isinstance(adamw, torch.optim.AdamW)
    assert adamw.param_groups[0]["lr"] == 0.1 and adamw.param_groups[1]["betas"] == (0.9, 0.7)
    for name in ("sgd", "lars", "larc"):
        assert build_optimizer(groups, name=name, lr=0.1, weight_decay=0, momentum=0.7).defaults["momentum"] == 0.7


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_fused_kernels_are_used_where_torch_has_them_and_foreach_elsewhere(name):
    on_cpu = build_optimizer(parameter_groups(_network()), name=name, lr=0.1, weight_decay=0.0).param_groups
    assert all(group["fused"] is True and group["foreach"] is False for group in on_cpu)
    groups = parameter_groups(_network().to("meta"))
    elsewhere = build_optimizer(groups, name=name, lr=0.1, weight_decay=0.0).param_groups
    assert all(group["fused"] is False and group["foreach"] is True for group in elsewhere)


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_the_fused_step_is_the_plain_one(name):
    steps = []
    for fused in (True, False):
        torch.manual_seed(0)
        network = nn.Linear(5, 3)
        optimizer = build_optimizer(parameter_groups(network), name=name, lr=0.1, weight_decay=0.1)
        for group in optimizer.param_groups:
            group["fused"] = fused
        for _ in range(3):
            for parameter in network.parameters():
                parameter.grad = parameter.detach() * 2 + 1
            optimizer.step()
        steps.append(network.weight.detach())
    torch.testing.assert_close(*steps)


def test_larc_is_the_formula_of_swavs_code():
    """Trust ratio 0.001 |w| / (|g| + d |w|), times the gradient with decay; momentum; the learning rate outside."""
    weight, gradient, decay, lr = torch.tensor([[3.0, 4.0]]), torch.tensor([[0.6, 0.8]]), 0.1, 0.5
    parameter = nn.Parameter(weight.clone())
    optimizer = build_optimizer([ParameterGroup([parameter])], name="larc", lr=lr, weight_decay=decay, momentum=0.9)
    buffer = torch.zeros_like(weight)
    for _ in range(2):
        parameter.grad = gradient.clone()
        optimizer.step()
        trust = 0.001 * weight.norm() / (gradient.norm() + decay * weight.norm())
        buffer = 0.9 * buffer + trust * (gradient + decay * weight)
        weight = weight - lr * buffer
        torch.testing.assert_close(parameter.detach(), weight)


def test_larc_adapts_parameters_without_decay_as_well():
    weight, gradient = torch.tensor([3.0, 4.0]), torch.tensor([0.6, 0.8])
    parameter = nn.Parameter(weight.clone())
    optimizer = build_optimizer([ParameterGroup([parameter], decays=False)], name="larc", lr=0.5, weight_decay=0.1)
    parameter.grad = gradient.clone()
    optimizer.step()
    torch.testing.assert_close(parameter.detach(), weight - 0.5 * 0.001 * weight.norm() / gradient.norm() * gradient)


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(UsageError, match="unknown optimizer 'adam'; did you mean 'adamw'\\?\nknown: adamw, sgd"):
        build_optimizer(parameter_groups(_network()), name="adam", lr=0.1, weight_decay=0.0)


def test_a_network_with_nothing_to_train_is_refused():
    with pytest.raises(UsageError, match="there is no trainable parameter\nunfreeze some"):
        build_optimizer(parameter_groups(nn.ReLU()), name="sgd", lr=0.1, weight_decay=0.0)
