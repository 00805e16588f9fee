"""The queue: its state, its order, and batches of any size."""

import torch

from selfstudy.nn.queue import Queue


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
