"""Parameter groups: what decays, what stays together, what settings and layers change."""

import pytest
import torch
from torch import nn

from selfstudy.optim.groups import ParameterGroup, arranged, parameter_groups, set_apart
from selfstudy.optim.settings import OptimizerSettings

SETTINGS = OptimizerSettings("sgd", 1.0, 0.1, 0.9, 0.999, 0.0, 0.0)


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
    return [by_id[id(parameter)] for parameter in group.parameters]


def test_weights_decay_and_biases_norms_and_vectors_do_not():
    network = Network()
    decayed, plain = parameter_groups(network)
    assert decayed.decays and not plain.decays
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
    groups = [[_names(n, group) for group in parameter_groups(n)] for n in (Network(), Network())]
    assert groups[0] == groups[1]


def test_a_tied_parameter_is_moved_once():
    network = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    network[1].weight = network[0].weight
    assert [len(group.parameters) for group in parameter_groups(network)] == [1, 2]


def test_an_empty_group_is_left_out():
    (group,) = parameter_groups(nn.Linear(2, 2, bias=False))
    assert group.decays


def test_parameters_set_apart_differ_from_their_old_group_in_the_changes_only():
    network = Network()
    groups = set_apart(parameter_groups(network), network.head.parameters(), constant=True)
    assert [(group.decays, group.constant, group.rate) for group in groups] == [
        (True, False, 1.0),
        (False, False, 1.0),
        (True, True, 1.0),
        (False, True, 1.0),
    ]
    assert [_names(network, group) for group in groups[2:]] == [["head.weight"], ["head.bias"]]
    assert sum(len(group.parameters) for group in groups) == 11


def test_the_defaults_leave_the_groups_as_they_are():
    groups = parameter_groups(Network())
    assert arranged(groups, SETTINGS, {}) == groups


def test_biases_and_norms_may_have_a_rate_of_their_own_and_decay():
    weights, others = arranged(parameter_groups(Network()), SETTINGS._replace(bias_lr=0.5, decay_biases=True), {})
    assert (weights.rate, others.rate) == (1.0, 0.5) and weights.decays and others.decays


def test_groups_are_split_by_the_rates_of_layers():
    network = Network()
    rates = {parameter: 0.25 for parameter in network.conv.parameters()}
    groups = arranged(parameter_groups(network), SETTINGS._replace(bias_lr=0.5), rates)
    assert [(group.decays, group.rate) for group in groups] == [(True, 1.0), (True, 0.25), (False, 0.5), (False, 0.125)]
    assert _names(network, groups[1]) == ["conv.weight"] and _names(network, groups[3]) == ["conv.bias"]


def test_a_group_is_a_value():
    group = ParameterGroup([nn.Parameter(torch.zeros(2))])
    assert (group.decays, group.rate, group.constant) == (True, 1.0, False)
    with pytest.raises(AttributeError):
        group.rate = 2.0
