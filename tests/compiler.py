"""Skips tests on machines where torch cannot compile; it needs a C++ compiler and Python's headers."""

import pytest
import torch

from selfstudy.machine.compiler import compiler_problem


def require_compiler() -> None:
    """Skip the calling test if torch cannot compile on this machine."""
    if problem := compiler_problem(torch.device("cpu")):
        pytest.skip(f"torch cannot compile here: {problem}")
