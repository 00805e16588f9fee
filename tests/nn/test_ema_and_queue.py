import torch
from torch import nn

from selfstudy.nn.ema import EMA
from selfstudy.nn.queue import Queue


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


def test_the_queue_is_in_the_state_and_normalised():
    queue = Queue(4, 6)
    assert set(queue.state_dict()) == {"items", "pointer"}
    torch.testing.assert_close(queue.items.norm(dim=1), torch.ones(6))


def test_the_queue_replaces_the_oldest_and_wraps_for_any_batch_size():
    queue, expected = Queue(1, 5), []
    for size in (2, 2, 3, 7, 1):
        batch = torch.arange(len(expected), len(expected) + size).float()[:, None]
        expected += batch.flatten().tolist()
        queue.push(batch)
        if len(expected) >= 5:
            assert sorted(queue.items.flatten().tolist()) == expected[-5:]
