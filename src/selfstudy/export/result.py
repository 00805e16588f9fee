"""What an export gives back, and the comparison every export has to pass."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from selfstudy.atomic import staged_folder
from selfstudy.errors import FileRefusedError

TOLERANCE = 1e-4
BATCHES = (1, 7)


class ExportResult(NamedTuple):
    """A file another library opens: where, how exactly it agrees, the lines of Python that use it, and who compared."""

    path: Path
    max_abs_difference: float
    usage: str
    library: str


def write_and_compare(
    ours: nn.Module,
    state: dict[str, Tensor],
    *,
    file: Path,
    reload: Callable[[Path], nn.Module],
    shape: tuple[int, ...],
) -> float:
    """The largest difference between our encoder and the reloaded one, on random images; it has to be small.

    Args:
        ours: in eval mode.
        state: tensors by the target library's names.
        file: to write.
        reload: makes the target library's network from the file.
        shape: (C, H, W) of an image.

    Raises:
        FileRefusedError: they differ by more than 1e-4.
    """
    with staged_folder(file.parent) as folder:
        save_file({name: tensor.contiguous().clone() for name, tensor in state.items()}, folder / file.name)
        theirs = reload(folder / file.name).eval()
        images = torch.Generator().manual_seed(0)
        with torch.inference_mode():
            batches = [torch.randn(size, *shape, generator=images) for size in BATCHES]
            worst = float(torch.stack([(ours(x) - theirs(x)).abs().max() for x in batches]).max())  # NaN if any is
        if not worst <= TOLERANCE:
            raise FileRefusedError(
                f"the exported network differs by {worst:.1e}, at most {TOLERANCE} is allowed; nothing kept"
            )
    return worst
