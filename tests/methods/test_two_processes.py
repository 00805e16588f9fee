"""Two gloo processes with half the batch each compute the loss and the gradient of one process with all of it."""

import os
import socket

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from selfstudy.methods import available, method_class
from tests.methods.contract import forward, views_for
from tests.methods.small_encoders import SMALL_CONFIG, ConvNet

BATCH = 8


def _build(name):
    """The method without BatchNorm, whose statistics would otherwise differ by process."""
    torch.manual_seed(0)
    cls = method_class(name)
    method = cls(ConvNet(norm=nn.Identity), cls.Config(**SMALL_CONFIG.get(name, {})))
    for parent in method.modules():
        for child_name, child in parent.named_children():
            if isinstance(child, nn.BatchNorm1d):
                setattr(parent, child_name, nn.Identity())
    return method.double()


def _views(name):
    return [view.double() for view in views_for(method_class(name), batch=BATCH)]


def _run(method, views):
    """Loss and gradients, averaged over processes as DDP does, and the state afterwards."""
    output = forward(method, views)
    output.loss.backward()
    world = dist.get_world_size() if dist.is_initialized() else 1
    gradients = {}
    for key, parameter in method.named_parameters():
        if parameter.grad is not None:
            gradients[key] = parameter.grad.clone()
            if world > 1:
                dist.all_reduce(gradients[key])
                gradients[key] /= world
    from selfstudy.ops.schedules import Progress

    method.after_step(Progress(1, 10))
    loss = output.loss.detach().clone()
    if world > 1:
        dist.all_reduce(loss)
        loss /= world
    return loss, gradients, {key: value.clone() for key, value in method.named_buffers()}


def _worker(rank, port, names, folder):
    torch.set_num_threads(1)
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    dist.init_process_group("gloo", rank=rank, world_size=2)
    for name in names:
        views = [view.chunk(2)[rank] for view in _views(name)]
        loss, gradients, buffers = _run(_build(name), views)
        if rank == 0:
            torch.save((loss, gradients, buffers), folder / f"{name}.pt")
    dist.barrier()
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def distributed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("distributed")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    names = sorted(available())
    mp.spawn(_worker, args=(port, names, folder), nprocs=2)
    return {name: torch.load(folder / f"{name}.pt", weights_only=True) for name in names}


@pytest.mark.parametrize("name", available())
def test_two_processes_equal_one(distributed, name):
    loss, gradients, buffers = distributed[name]
    alone_loss, alone_gradients, alone_buffers = _run(_build(name), _views(name))
    torch.testing.assert_close(loss, alone_loss, rtol=1e-10, atol=1e-12)
    assert gradients.keys() == alone_gradients.keys()
    for key in gradients:
        torch.testing.assert_close(gradients[key], alone_gradients[key], rtol=1e-6, atol=1e-10, msg=key)
    for key in buffers:
        torch.testing.assert_close(buffers[key], alone_buffers[key], rtol=1e-6, atol=1e-10, msg=key)
