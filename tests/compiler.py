"""Whether torch can compile here: a C++ compiler and Python's headers are not on every machine."""

import functools
import subprocess
import sys

import pytest

_TRIAL = "import torch; from selfstudy.train.compiling import compiler_problem as p; print(p(torch.device('cpu')))"


@functools.cache
def _problem() -> str:
    """Tried in another process, for some tests fork this one, which what torch loads to compile would not survive."""
    return subprocess.run([sys.executable, "-c", _TRIAL], capture_output=True, text=True, check=True).stdout.strip()


def require_compiler() -> None:
    """Skip the test that calls this where nothing can be compiled."""
    if problem := _problem():
        pytest.skip(f"torch cannot compile here: {problem}")
