"""Networks that are put into evaluation mode for a while."""

import pytest
from torch import nn

from selfstudy.nn.modes import evaluation_mode


def test_every_part_gets_back_the_mode_it_had():
    network = nn.Sequential(nn.BatchNorm2d(3), nn.Sequential(nn.Dropout(), nn.BatchNorm2d(3))).train()
    network[0].eval()
    network[1][1].eval()
    before = [part.training for part in network.modules()]
    with evaluation_mode(network):
        assert not any(part.training for part in network.modules())
    assert [part.training for part in network.modules()] == before == [True, False, True, True, False]


def test_the_modes_come_back_after_an_error_too():
    network = nn.Sequential(nn.Dropout()).train()
    with pytest.raises(ZeroDivisionError), evaluation_mode(network):
        raise ZeroDivisionError
    assert network.training and network[0].training
