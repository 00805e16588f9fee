"""A check that torch can compile on this machine."""

import torch

from selfstudy.errors import first_line


def compiler_problem(device: torch.device) -> str:
    """The reason why torch cannot compile for a device, found by trying; empty if it can.

    Returns:
        One line of at most 200 characters.
    """
    try:
        torch.compile(torch.sin)(torch.zeros(8, device=device))
    except (RuntimeError, ImportError, OSError) as error:
        return first_line(error)[:200] or type(error).__name__
    return ""
