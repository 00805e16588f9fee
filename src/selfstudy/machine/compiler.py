"""Whether torch can compile on this machine."""

import torch

from selfstudy.errors import first_line


def compiler_problem(device: torch.device) -> str:
    """What keeps torch from compiling for a device, tried; empty if nothing does."""
    try:
        torch.compile(torch.sin)(torch.zeros(8, device=device))
    except (RuntimeError, ImportError, OSError) as error:
        return first_line(error)[:200] or type(error).__name__
    return ""
