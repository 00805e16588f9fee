import pytest
import torch
from torch import nn

from selfstudy.errors import UsageError
from selfstudy.optim.optimizer import build_optimizer, clip_gradients, parameter_groups, set_learning_rate


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.batch_norm = nn.BatchNorm2d(4)
        self.layer_norm = nn.LayerNorm((4, 6, 6))
        self.head = nn.Linear(4, 2)
        self.scale = nn.Parameter(torch.ones(4))
        self.position = nn.Parameter(torch.randn(1, 5, 4))
        self.frozen = nn.Parameter(torch.ones(3, 3), requires_grad=False)
        self.bias = nn.Parameter(torch.zeros(1, 4, 1, 1))


def _names(network, group):
    by_id = {id(parameter): name for name, parameter in network.named_parameters()}
    return [by_id[id(parameter)] for parameter in group["params"]]


@pytest.mark.parametrize("name", ["adamw", "sgd", "lars"])
def test_weights_decay_and_biases_norms_and_vectors_do_not(name):
    network = Network()
    decayed, plain = build_optimizer(network, name=name, lr=0.1, weight_decay=0.05).param_groups
    assert decayed["decay"] is True and decayed["weight_decay"] == 0.05
    assert plain["decay"] is False and plain["weight_decay"] == 0.0
    assert _names(network, decayed) == ["position", "conv.weight", "head.weight"]
    assert _names(network, plain) == [
        "scale",
        "bias",
        "conv.bias",
        "batch_norm.weight",
        "batch_norm.bias",
        "layer_norm.weight",
        "layer_norm.bias",
        "head.bias",
    ]


def test_the_order_is_the_same_for_every_copy_of_a_network():
    groups = [[_names(n, group) for group in parameter_groups(n, 0.1)] for n in (Network(), Network())]
    assert groups[0] == groups[1]


def test_a_tied_parameter_is_moved_once():
    network = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    network[1].weight = network[0].weight
    assert [len(group["params"]) for group in parameter_groups(network, 0.1)] == [1, 2]


def test_an_empty_group_is_left_out():
    (group,) = parameter_groups(nn.Linear(2, 2, bias=False), 0.1)
    assert group["decay"] is True


def test_settings_reach_the_optimizer():
    network = Network()
    adamw = build_optimizer(network, name="adamw", lr=0.1, weight_decay=0.05, beta2=0.7)
    assert isinstance(adamw, torch.optim.AdamW)
    assert adamw.param_groups[0]["lr"] == 0.1 and adamw.param_groups[1]["betas"] == (0.9, 0.7)
    for name in ("sgd", "lars"):
        assert build_optimizer(network, name=name, lr=0.1, weight_decay=0, momentum=0.7).defaults["momentum"] == 0.7


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_fused_kernels_are_used_where_torch_has_them_and_foreach_elsewhere(name):
    on_cpu = build_optimizer(Network(), name=name, lr=0.1, weight_decay=0.0).param_groups
    assert all(group["fused"] is True and group["foreach"] is False for group in on_cpu)
    elsewhere = build_optimizer(Network().to("meta"), name=name, lr=0.1, weight_decay=0.0).param_groups
    assert all(group["fused"] is False and group["foreach"] is True for group in elsewhere)


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_the_fused_step_is_the_plain_one(name):
    steps = []
    for fused in (True, False):
        torch.manual_seed(0)
        network = nn.Linear(5, 3)
        optimizer = build_optimizer(network, name=name, lr=0.1, weight_decay=0.1)
        for group in optimizer.param_groups:
            group["fused"] = fused
        for _ in range(3):
            for parameter in network.parameters():
                parameter.grad = parameter.detach() * 2 + 1
            optimizer.step()
        steps.append(network.weight.detach())
    torch.testing.assert_close(*steps)


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(UsageError, match="unknown optimizer 'adam'; did you mean 'adamw'\\?\nknown: adamw, sgd, lars"):
        build_optimizer(Network(), name="adam", lr=0.1, weight_decay=0.0)


def test_a_network_with_nothing_to_train_is_refused():
    with pytest.raises(UsageError, match="ReLU has no trainable parameter\nunfreeze some"):
        build_optimizer(nn.ReLU(), name="sgd", lr=0.1, weight_decay=0.0)


def test_the_learning_rate_is_set_in_every_group():
    optimizer = build_optimizer(Network(), name="adamw", lr=0.1, weight_decay=0.1)
    set_learning_rate(optimizer, 0.025)
    assert [group["lr"] for group in optimizer.param_groups] == [0.025, 0.025]


def _with_gradients(*gradients):
    parameters = [nn.Parameter(torch.zeros(len(gradient))) for gradient in gradients]
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = torch.tensor(gradient)
    return [nn.Parameter(torch.zeros(2)), *parameters]


def test_gradients_are_scaled_to_the_largest_norm_together():
    parameters = _with_gradients([3.0, 0.0], [0.0, 4.0])
    assert clip_gradients(iter(parameters), 1.0).item() == 5.0
    torch.testing.assert_close(parameters[1].grad, torch.tensor([0.6, 0.0]))
    torch.testing.assert_close(parameters[2].grad, torch.tensor([0.0, 0.8]))


@pytest.mark.parametrize("largest", [0.0, 5.1])
def test_gradients_within_the_norm_or_without_a_limit_are_left_bit_for_bit(largest):
    parameters = _with_gradients([3.0, 0.0], [0.0, 4.0])
    assert clip_gradients(parameters, largest).item() == 5.0
    assert parameters[1].grad.tolist() == [3.0, 0.0] and parameters[2].grad.tolist() == [0.0, 4.0]


def test_the_norm_shows_a_gradient_that_is_not_finite():
    assert torch.isnan(clip_gradients(_with_gradients([float("nan"), 1.0]), 1.0))
    assert torch.isinf(clip_gradients(_with_gradients([float("inf"), 1.0]), 0.0))


def test_no_gradients_have_norm_zero():
    assert clip_gradients([nn.Parameter(torch.ones(2))], 1.0).item() == 0.0
