"""Two gloo processes with half the batch each take the same three steps as one process with all of it."""

import os
import socket

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from selfstudy.methods import method_class
from selfstudy.ops.schedules import Progress
from tests.methods.contract import views_for
from tests.methods.small_encoders import STEPPED, ConvNet, builder, fitting, small_config

BATCH, STEPS = 8, 3


def _build(name):
    """The method without BatchNorm, whose statistics would otherwise differ by process."""
    torch.manual_seed(0)
    cls = method_class(name)
    first = fitting(name)[0]
    encoder = ConvNet(norm=nn.Identity) if first == "convnet" else builder(name, first)()
    method = cls(encoder, cls.Config(**small_config(name)))
    for parent in method.modules():
        for child_name, child in parent.named_children():
            if isinstance(child, nn.BatchNorm1d):
                setattr(parent, child_name, nn.Identity())
    return method.double()


def _views(name, seed):
    views = views_for(method_class(name), batch=BATCH, seed=seed)
    return [view.double() if view.is_floating_point() else view for view in views]


def _run(method, batches):
    """Loss and gradients of the first step, averaged over processes as DDP does, and the state after three."""
    optimizer = torch.optim.SGD([p for p in method.parameters() if p.requires_grad], lr=0.05, momentum=0.9)
    first = None
    for step, views in enumerate(batches):
        loss, gradients = _step(method, views, optimizer, Progress(step + 1, 10))
        first = first or (loss, gradients)
    return *first, {key: value.clone() for key, value in method.state_dict().items()}


def _step(method, views, optimizer, progress):
    """One optimizer step; its loss and gradients, averaged over processes."""
    output = method(views, progress)
    output.loss.backward()
    loss, gradients = output.loss.detach().clone(), {}
    for key, parameter in method.named_parameters():
        if parameter.grad is not None:
            _average(parameter.grad)
            gradients[key] = parameter.grad.clone()
    _average(loss)
    method.before_step(progress)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    method.after_step(progress)
    return loss, gradients


def _average(tensor):
    if dist.is_initialized():
        dist.all_reduce(tensor)
        tensor /= dist.get_world_size()


def _worker(rank, port, names, folder):
    torch.set_num_threads(1)
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    dist.init_process_group("gloo", rank=rank, world_size=2)
    for name in names:
        batches = [[view.chunk(2)[rank] for view in _views(name, seed)] for seed in range(STEPS)]
        result = _run(_build(name), batches)
        if rank == 0:
            torch.save(result, folder / f"{name}.pt")
    dist.barrier()
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def distributed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("distributed")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    names = sorted(STEPPED)
    mp.spawn(_worker, args=(port, names, folder), nprocs=2)
    return {name: torch.load(folder / f"{name}.pt", weights_only=True) for name in names}


@pytest.mark.parametrize("name", STEPPED)
def test_two_processes_equal_one(distributed, name):
    loss, gradients, state = distributed[name]
    alone_loss, alone_gradients, alone_state = _run(_build(name), [_views(name, seed) for seed in range(STEPS)])
    torch.testing.assert_close(loss, alone_loss, rtol=1e-10, atol=1e-12)
    assert gradients.keys() == alone_gradients.keys()
    for key in gradients:
        torch.testing.assert_close(gradients[key], alone_gradients[key], rtol=1e-6, atol=1e-10, msg=key)
    for key in state:
        torch.testing.assert_close(state[key], alone_state[key], rtol=1e-5, atol=1e-9, msg=key)
