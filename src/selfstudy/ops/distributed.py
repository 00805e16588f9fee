"""The global batch: gathering over processes with the right gradient, and a no-op without a process group."""

import torch
import torch.distributed as dist
from torch import Tensor


def world_size() -> int:
    """Number of processes, 1 without a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """This process's number, 0 without a process group."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


class _Gather(torch.autograd.Function):
    """All-gather whose backward sums every process's gradient and keeps this process's rows."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor) -> Tensor:
        """Rows of all processes in rank order."""
        parts = [torch.empty_like(x) for _ in range(world_size())]
        dist.all_gather(parts, x.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *grads: Tensor) -> Tensor:
        """The sum over processes of the gradient of this process's rows."""
        # a copy even where it is contiguous: autograd may hand the same tensor to another node
        total = grads[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total.chunk(world_size())[rank()]


def gather(x: Tensor) -> Tensor:
    """``x`` (B, ...) of every process joined to (world size x B, ...), differentiable; ``x`` itself with one process.

    Every process computes the same global loss from the result; DDP then averages parameter gradients over processes.
    The summed backward of W identical losses times DDP's 1/W is exactly the gradient of the loss on one process.
    """
    return _Gather.apply(x) if world_size() > 1 else x
