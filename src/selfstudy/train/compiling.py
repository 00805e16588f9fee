"""``torch.compile`` of a method's encoders, used by the steps of training alone."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch

from selfstudy.errors import EnvironmentFault
from selfstudy.machine.compiler import compiler_problem
from selfstudy.methods.base import Method

COMPILING_STEPS = 2
"""So many steps compile: the second one anew, for any length of rows, where it is not that of the first."""


@contextmanager
def compiled_encoders(method: Method, device: torch.device) -> Iterator[None]:
    """Compile a method's encoders when a step of training first calls them.

    Inside the block they run as compiled in :func:`training_step` alone: evaluation, in its other mode, would have them
    compiled once more, which takes longer than itself.

    Raises:
        EnvironmentFault: nothing can be compiled here.
    """
    if problem := compiler_problem(device):
        raise EnvironmentFault(
            f"torch.compile does not work here: {problem}\n"
            "install what it needs (a C++ compiler; on GPUs Triton), or leave train.compile out"
        )
    method.compile()
    with torch.compiler.set_stance("force_eager"):
        yield


def training_step(*, compiled: bool) -> AbstractContextManager[None]:
    """Where encoders run as compiled, if they are."""
    return torch.compiler.set_stance("default") if compiled else nullcontext()
