"""The parameter groups of methods: the default ones, and the settings that change them."""

import pytest
import torch

from selfstudy.methods import method_class
from selfstudy.optim.groups import parameter_groups
from tests.methods.small_encoders import STEPPED, builder, fitting, small_config

ALONE = [
    ("simsiam", {"constant_predictor_rate": True}, "predictor", {"constant": True}),
    ("fastsiam", {"constant_predictor_rate": True}, "predictor", {"constant": True}),
    ("dinov2", {"patch_rate": 0.2}, "encoder.network.patch_embed", {"rate": 0.2}),
    ("msn", {"decay_prototypes": False}, "prototypes", {"decays": False}),
]


def _make(name, **changes):
    torch.manual_seed(0)
    cls = method_class(name)
    return cls(builder(name, fitting(name)[0])(), cls.Config(**{**small_config(name), **changes}))


@pytest.mark.parametrize("name", STEPPED)
def test_by_default_the_groups_are_those_of_every_module(name):
    method = _make(name)
    assert [group._asdict() for group in method.parameter_groups()] == [g._asdict() for g in parameter_groups(method)]


@pytest.mark.parametrize(("name", "changes", "part", "fields"), ALONE)
def test_a_setting_puts_some_parameters_into_groups_of_their_own(name, changes, part, fields):
    method = _make(name, **changes)
    names = {id(value): key for key, value in method.named_parameters()}
    apart = [group for group in method.parameter_groups() if fields.items() <= group._asdict().items()]
    found = {names[id(value)] for group in apart for value in group.parameters if names[id(value)].startswith(part)}
    assert found == {key for key, value in method.named_parameters() if key.startswith(part) and value.requires_grad}
    trained = [id(value) for group in method.parameter_groups() for value in group.parameters]
    assert sorted(trained) == sorted(id(value) for value in method.parameters() if value.requires_grad)
