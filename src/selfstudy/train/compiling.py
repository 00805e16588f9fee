"""``torch.compile`` of a method's encoders, for the steps of training only."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch

from selfstudy.errors import EnvironmentFault
from selfstudy.machine.compiler import compiler_problem
from selfstudy.methods.base import Method

COMPILING_STEPS = 2
"""The number of steps that compile: the second one compiles again for any length of rows if its length is new."""


@contextmanager
def compiled_encoders(method: Method, device: torch.device) -> Iterator[None]:
    """Compile a method's encoders when a step of training first calls them.

    Inside the block the compiled encoders run in :func:`training_step` only. Evaluation has another mode, and compiling
    them again for it takes longer than the evaluation itself.

    Raises:
        EnvironmentFault: torch.compile does not work on this machine.
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
    """A context in which the compiled encoders run; without ``compiled`` it changes nothing."""
    return torch.compiler.set_stance("default") if compiled else nullcontext()
