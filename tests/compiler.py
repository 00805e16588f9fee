"""Whether torch can compile here: a C++ compiler and Python's headers are not on every machine."""

import pytest
import torch

from selfstudy.machine.compiler import compiler_problem


def require_compiler() -> None:
    """Skip the test that calls this where nothing can be compiled."""
    if problem := compiler_problem(torch.device("cpu")):
        pytest.skip(f"torch cannot compile here: {problem}")
