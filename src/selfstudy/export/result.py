"""What an export gives back, and the comparison every export has to pass."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from selfstudy.disk.atomic import staged_folder
from selfstudy.errors import FileRefusedError

TOLERANCE = 1e-4
_BATCHES = (1, 7)


class ExportResult(NamedTuple):
    """A file another library opens: where, how exactly it agrees, the lines of Python that use it, and who compared."""

    path: Path
    max_abs_difference: float
    usage: str
    library: str


def largest_difference(
    ours: Callable[[Tensor], Tensor], theirs: Callable[[Tensor], Tensor], *, shape: tuple[int, ...]
) -> float:
    """The largest difference of two networks' outputs, NaN if one gives any, on random images in batches of two sizes.

    Args:
        ours: of images (B, C, H, W) float32 in [0, 1].
        theirs: likewise.
        shape: (C, H, W) of an image.
    """
    generator = torch.Generator().manual_seed(0)
    with torch.inference_mode():
        batches = [torch.rand(size, *shape, generator=generator) for size in _BATCHES]
        return float(torch.stack([(ours(images) - theirs(images)).abs().max() for images in batches]).max())


def require_agreement(difference: float, *, at_most: float = TOLERANCE) -> None:
    """Nothing, where the reloaded network computes what ours does.

    Raises:
        FileRefusedError: it differs by more, or by NaN.
    """
    if not difference <= at_most:
        raise FileRefusedError(
            f"the exported network differs by {difference:.1e}, at most {at_most} is allowed; nothing kept"
        )


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
        worst = largest_difference(ours, reload(folder / file.name).eval(), shape=shape)
        require_agreement(worst)
    return worst
