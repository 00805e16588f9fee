"""The gathered batch of two gloo processes: its gradient where autograd hands one tensor to two gathers."""

import os
import socket

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from selfstudy.ops.distributed import gather

WEIGHTS = torch.arange(1.0, 13.0).view(4, 3)


def _worker(rank, port, folder):
    torch.set_num_threads(1)
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    dist.init_process_group("gloo", rank=rank, world_size=2)
    x, y = (torch.full((2, 3), 1.0 + rank, requires_grad=True) for _ in range(2))
    ((gather(x) + gather(y)) * WEIGHTS).sum().backward()
    torch.save((x.grad, y.grad), folder / f"{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def gradients(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gather")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    mp.spawn(_worker, args=(port, folder), nprocs=2)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.parametrize("rank", [0, 1])
def test_two_gathers_of_one_sum_each_get_the_sum_over_processes_once(gradients, rank):
    wanted = 2 * WEIGHTS.chunk(2)[rank]  # both processes have the same loss
    for gradient in gradients[rank]:
        torch.testing.assert_close(gradient, wanted)


def test_one_process_gathers_itself():
    assert gather(WEIGHTS) is WEIGHTS
