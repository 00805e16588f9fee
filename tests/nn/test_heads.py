"""Heads: which layers they are made of."""

import torch
from torch import nn

from selfstudy.nn.heads import mlp, simsiam_heads


def _kinds(network):
    return [type(layer) for layer in network]


def test_an_mlp_ends_in_a_plain_layer_with_a_bias():
    network = mlp([3, 4, 2])
    assert _kinds(network) == [nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Linear]
    assert network[0].bias is None and network[-1].bias is not None


def test_the_last_bias_can_be_left_out():
    assert mlp([3, 4, 2], output_bias=False)[-1].bias is None


def test_a_normalised_output_has_zero_mean_and_unit_variance_and_nothing_to_learn():
    network = mlp([3, 4, 2], output_norm=True)
    assert network[-2].bias is None and not list(network[-1].parameters())
    out = network(100 + 9 * torch.randn(64, 3, generator=torch.Generator().manual_seed(0)))
    torch.testing.assert_close(out.mean(dim=0), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(out.var(dim=0, correction=0), torch.ones(2), atol=1e-2, rtol=0)


def test_simsiams_projector_has_three_layers_and_its_predictor_narrows():
    projector, predictor = simsiam_heads(6, hidden_dim=8, projection_dim=10, bottleneck_dim=4)
    widths = [
        [(m.in_features, m.out_features) for m in head if isinstance(m, nn.Linear)] for head in (projector, predictor)
    ]
    assert widths == [[(6, 8), (8, 8), (8, 10)], [(10, 4), (4, 10)]]
    assert _kinds(projector)[-1] == nn.BatchNorm1d and _kinds(predictor)[-1] == nn.Linear
