"""Micro-batches by number: who takes which part of a step, and in which order they come."""

from itertools import islice

import pytest
import torch

from selfstudy.data.batches import Shard, micro_batches
from selfstudy.data.order import EpochOrder
from selfstudy.errors import UsageError


class Numbers:
    """Micro-batches that are their own numbers."""

    def __init__(self, shard=None):
        self.order, self.shard = EpochOrder(0, 24, 12), shard or Shard()

    def __getitem__(self, item):
        return item


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(("shard", "first"), [(Shard(), 5), (Shard(accumulate=3), 15), (Shard(1, 2, 3), 15)])
def test_they_begin_at_the_first_micro_batch_of_a_step_and_come_in_order(workers, shard, first):
    found = micro_batches(Numbers(shard), first_step=5, workers=workers)
    assert list(islice(found, 4)) == [first, first + 1, first + 2, first + 3]


def test_workers_draw_nothing_from_torchs_random_numbers():
    before = torch.get_rng_state()
    next(micro_batches(Numbers(), first_step=0, workers=1))
    assert torch.equal(torch.get_rng_state(), before)


def test_the_parts_of_all_processes_and_micro_batches_are_the_batch():
    order = EpochOrder(0, 24, 12)
    for step in range(3):
        epoch, whole = order.batch(step)
        parts = [Shard(rank, 2, 3).part(order, 3 * step + micro) for micro in range(3) for rank in range(2)]
        assert torch.equal(torch.cat([positions for _, positions in parts]), whole)
        assert {len(positions) for _, positions in parts} == {2} and {number for number, _ in parts} == {epoch}


def test_a_batch_that_does_not_divide_is_refused_with_what_does():
    Shard(0, 3, 2).require_parts(12)
    with pytest.raises(
        UsageError, match="batch size 8 does not divide by 3 processes x 2 micro-batches\nuse a multiple of 6"
    ):
        Shard(0, 3, 2).require_parts(8)
