"""The pace of training: learning rate and weight decay of every group at any progress, by hand."""

import pytest
import torch
from torch import nn

from selfstudy.ops.schedules import Progress
from selfstudy.optim.groups import ParameterGroup
from selfstudy.optim.optimizer import build_optimizer
from selfstudy.optim.pace import Pace
from selfstudy.optim.settings import OptimizerSettings

SETTINGS = OptimizerSettings("sgd", 2.0, 0.04, 0.9, 0.999, 0.0, 0.0)


def _groups():
    weights = [nn.Parameter(torch.ones(2, 2)) for _ in range(4)]
    return [
        ParameterGroup(weights[:1]),
        ParameterGroup(weights[1:2], decays=False),
        ParameterGroup(weights[2:3], rate=0.5),
        ParameterGroup(weights[3:], rate=0.5, constant=True),
    ]


def _at(progress, **settings):
    groups = _groups()
    optimizer = build_optimizer(groups, name="sgd", lr=1.0, weight_decay=0.5)
    rate = Pace.of(groups, SETTINGS._replace(**settings)).set(optimizer, progress)
    return rate, [(group["lr"], group["weight_decay"]) for group in optimizer.param_groups]


def test_every_group_gets_its_rate_and_decay():
    rate, values = _at(Progress(50, 100))
    assert rate == pytest.approx(1.0)
    assert values == [(rate, 0.04), (rate, 0.0), (rate / 2, 0.04), (1.0, 0.04)]


def test_weight_decay_is_constant_or_follows_a_cosine():
    assert {_at(Progress(step, 100))[1][0][1] for step in range(100)} == {0.04}
    rising = [_at(Progress(step, 100), final_weight_decay=0.4)[1][0][1] for step in (0, 50, 100)]
    assert rising == pytest.approx([0.04, 0.22, 0.4])
    assert _at(Progress(100, 100), final_weight_decay=0.0)[1][0][1] == pytest.approx(0.0)


def test_the_learning_rate_warms_up_and_follows_its_shape_to_the_last_rate():
    settings = {"warmup": 0.1, "warmup_from": 0.2, "schedule": "linear", "final_lr": 0.1}
    rates = [_at(Progress(step, 100), **settings)[0] for step in (0, 9, 10, 55, 100)]
    assert rates == pytest.approx([0.4 + 1.6 / 10, 2.0, 2.0, 1.1, 0.2])


def test_the_values_do_not_depend_on_what_the_optimizer_holds():
    """An optimizer whose state was loaded from a checkpoint has that checkpoint's rates and decays."""
    groups = _groups()
    optimizer = build_optimizer(groups, name="sgd", lr=1.0, weight_decay=0.5)
    for group in optimizer.param_groups:
        group["lr"] = group["weight_decay"] = 9.0
    Pace.of(groups, SETTINGS).set(optimizer, Progress(0, 10))
    assert [group["lr"] for group in optimizer.param_groups] == [2.0, 2.0, 1.0, 1.0]
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.04, 0.0, 0.04, 0.04]
