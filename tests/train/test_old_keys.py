"""Checkpoints with the names of earlier versions: every method with a teacher goes on from one, bit for bit."""

import copy
from itertools import chain

import pytest
import torch
from torch import nn

from selfstudy.methods import method_class
from selfstudy.nn.teacher import Teacher
from selfstudy.train.checkpoint import CheckpointStore
from selfstudy.train.old_keys import with_new_keys
from tests.methods.contract import optimizer_step, same, sgd, views_for
from tests.methods.small_encoders import STEPPED, builder, fitting, small_config

TAUGHT = ["byol", "data2vec", "dino", "dinov2", "ibot", "ijepa", "moco", "moco_v3", "msn"]


def _make(name, **changes):
    torch.manual_seed(0)
    cls = method_class(name)
    return cls(builder(name, fitting(name)[0])(), cls.Config(**{**small_config(name), **changes}))


def _old_names(teacher: Teacher) -> dict[str, str]:
    """The names of 0.1, by the new ones: those of a sequence of encoder and heads, or of an encoder alone."""
    heads = list(teacher.head) if isinstance(teacher.head, nn.ModuleList) else [teacher.head]
    alone = isinstance(teacher.head, nn.Identity)
    old = teacher.encoder if alone else nn.Sequential(teacher.encoder, *heads)
    now = chain(teacher.encoder.state_dict(prefix="encoder."), teacher.head.state_dict(prefix="head."))
    return {f"teacher.module.{new}": f"teacher.module.{name}" for new, name in zip(now, old.state_dict(), strict=True)}


def test_the_methods_with_a_teacher_are_those_tried_here():
    found = [name for name in STEPPED if any(isinstance(part, Teacher) for part in _make(name).modules())]
    assert found == TAUGHT


@pytest.mark.parametrize(("name", "changes"), [*((name, {}) for name in TAUGHT), ("dinov2", {"separate_head": True})])
def test_a_run_with_the_old_names_resumes_bit_for_bit(name, changes, tmp_path):
    straight = _make(name, **changes)
    optimizer, batches = sgd(straight), [views_for(type(straight), seed=seed) for seed in range(3)]
    optimizer_step(straight, batches[0], optimizer)
    renamed = _old_names(straight.teacher)
    old = {renamed.get(key, key): tensor for key, tensor in straight.state_dict().items()}
    assert len(old.keys() - straight.state_dict().keys()) == len(renamed)
    CheckpointStore(tmp_path).save(1, old, copy.deepcopy(optimizer.state_dict()), {})
    for views in batches[1:]:
        optimizer_step(straight, views, optimizer)

    checkpoint = CheckpointStore(tmp_path).latest()
    resumed = _make(name, **changes)
    checkpoint.load_into(resumed)
    again = sgd(resumed)
    again.load_state_dict(checkpoint.optimizer)
    for views in batches[1:]:
        optimizer_step(resumed, views, again)
    assert same(straight.state_dict(), resumed.state_dict())


def test_names_of_today_and_names_without_a_rule_stay():
    known = ["teacher.module.encoder.weight", "teacher.module.0.weight"]
    assert with_new_keys(dict.fromkeys(["teacher.module.0.weight", "teacher.module.9.bias", "x"]), known).keys() == {
        "teacher.module.0.weight",
        "teacher.module.9.bias",
        "x",
    }
