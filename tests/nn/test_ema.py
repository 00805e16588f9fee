"""The moving average: a copy at first, one move by hand, its mode and its buffers."""

import torch
from timm.layers import DropPath
from torch import nn

from selfstudy.nn.ema import EMA


def _network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


def test_the_average_starts_as_a_copy_and_needs_no_gradient():
    source = _network()
    teacher = EMA(source, train_mode=True)
    for mine, theirs in zip(teacher.module.parameters(), source.parameters(), strict=True):
        assert torch.equal(mine, theirs) and mine is not theirs and not mine.requires_grad
    assert not teacher(torch.randn(5, 3)).requires_grad


def test_one_move_by_hand():
    source = _network()
    teacher = EMA(source, train_mode=True)
    before = teacher.module[0].weight.clone()
    with torch.no_grad():
        source[0].weight.add_(1.0)
    teacher.move_toward(source, 0.9)
    torch.testing.assert_close(teacher.module[0].weight, before + 0.1)


def test_a_teacher_in_eval_copies_buffers_and_stays_in_eval():
    source = _network()
    teacher = EMA(source, train_mode=False)
    teacher.train()
    assert not teacher.module.training and teacher.training
    source(torch.randn(50, 3))
    teacher.move_toward(source, 0.9)
    assert torch.equal(teacher.module[1].running_mean, source[1].running_mean)
    assert int(teacher.module[1].num_batches_tracked) == 1


def test_a_teacher_in_train_mode_follows_the_methods_mode():
    teacher = EMA(_network(), train_mode=True)
    assert teacher.train().module.training
    assert not teacher.eval().module.training


def test_only_the_student_skips_blocks():
    source = nn.Sequential(DropPath(0.5), nn.Linear(3, 4))
    assert EMA(source, train_mode=True).module[0].drop_prob == 0.0 and source[0].drop_prob == 0.5
