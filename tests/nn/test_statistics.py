"""Running statistics of BatchNorm, set on batches without learning."""

import copy

import pytest
import torch
from torch import nn

from selfstudy.nn.statistics import layers_with_statistics, set_statistics, statistics_of


class Frozen(nn.BatchNorm1d):
    """A BatchNorm that stays in evaluation mode, as frozen ones do."""

    def train(self, mode=True):
        return super().train(False)


def network():
    return nn.Sequential(
        nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 2), nn.BatchNorm1d(2)
    ).train()


def batches(count=5):
    return list(torch.randn(count, 8, 3, generator=torch.Generator().manual_seed(0)) * 3 + 1)


def test_each_layer_has_the_mean_over_batches_of_their_means_and_variances():
    net, data = network(), batches()
    net[1].running_mean.fill_(99)
    set_statistics(net, data)
    seen = [net[0](batch) for batch in data]
    torch.testing.assert_close(net[1].running_mean, torch.stack([one.mean(0) for one in seen]).mean(0))
    torch.testing.assert_close(net[1].running_var, torch.stack([one.var(0) for one in seen]).mean(0))
    normal = [(one - one.mean(0)) / (one.var(0, correction=0) + 1e-5).sqrt() for one in seen]
    normal = [net[3](one * net[1].weight + net[1].bias) for one in normal]  # without dropout
    torch.testing.assert_close(net[4].running_mean, torch.stack([one.mean(0) for one in normal]).mean(0))


def test_nothing_else_changes_and_the_result_is_always_the_same():
    net = network()
    net[2].eval()
    before, modes = copy.deepcopy(net), [part.training for part in net.modules()]
    set_statistics(net, batches())
    assert [part.training for part in net.modules()] == modes and net[1].momentum == 0.1
    for name, weight in net.named_parameters():
        assert torch.equal(weight, before.get_parameter(name)) and weight.grad is None
    again = network()
    again.load_state_dict(before.state_dict())
    set_statistics(again, iter(batches()))
    assert all(torch.equal(one, other) for one, other in zip(net.buffers(), again.buffers(), strict=True))


def test_modes_and_momenta_come_back_after_an_error():
    net = network().eval()
    net[4].train()
    with pytest.raises(RuntimeError):
        set_statistics(net, [torch.zeros(2, 99)])
    assert [part.training for part in net.modules()] == [False] * 5 + [True] and net[4].momentum == 0.1


def test_without_a_batch_the_statistics_stay():
    net = network()
    net[1].running_mean.fill_(7)
    set_statistics(net, [])
    assert net[1].running_mean.tolist() == [7] * 4 and net[1].momentum == 0.1


def test_layers_without_moving_statistics_are_left_alone():
    net = nn.Sequential(nn.LayerNorm(3), nn.BatchNorm1d(3, track_running_stats=False), Frozen(3))
    assert layers_with_statistics(net) == []
    net[2].running_mean.fill_(7)
    set_statistics(net, iter([None]))  # not even read
    assert net[2].running_mean.tolist() == [7, 7, 7]
    assert layers_with_statistics(network().eval()) != [] and Frozen not in map(type, layers_with_statistics(net))


def test_statistics_of_a_block_are_gone_after_it_even_after_an_error():
    net = network()
    net(batches()[0])
    before, fitted = copy.deepcopy(net.state_dict()), copy.deepcopy(net)
    set_statistics(fitted, batches())
    with statistics_of(net, batches()):
        assert torch.equal(net[1].running_mean, fitted[1].running_mean)
    with pytest.raises(ZeroDivisionError), statistics_of(net, (1 / 0 for _ in range(1))):
        pass
    assert all(torch.equal(net.state_dict()[name], value) for name, value in before.items())
    assert all(part.training for part in net.modules()) and net[1].momentum == 0.1
