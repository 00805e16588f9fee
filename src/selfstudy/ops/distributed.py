"""The global batch: a gather over processes with the right gradient. Without a process group it does nothing."""

import torch
import torch.distributed as dist
from torch import Tensor


def world_size() -> int:
    """The number of processes; 1 without a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """The number of this process, from 0; 0 without a process group."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


class _Gather(torch.autograd.Function):
    """All-gather whose backward pass sums the gradients of all processes and keeps this process's rows."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor) -> Tensor:
        """Rows of all processes in rank order."""
        parts = [torch.empty_like(x) for _ in range(world_size())]
        dist.all_gather(parts, x.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *grads: Tensor) -> Tensor:
        """The sum over processes of the gradient of this process's rows."""
        # a copy even if it is contiguous: autograd may hand the same tensor to another node
        total = grads[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total.chunk(world_size())[rank()]


def gather(x: Tensor) -> Tensor:
    """The rows of all processes in rank order, differentiable; ``x`` itself with one process.

    Every process computes the same global loss from the result; DDP then averages parameter gradients over processes.
    The summed backward of W identical losses times DDP's 1/W is exactly the gradient of the loss on one process.

    Args:
        x: (B, ...), the rows of this process; B is the same in all.

    Returns:
        (W B, ...) for W processes.
    """
    return _Gather.apply(x) if world_size() > 1 else x
