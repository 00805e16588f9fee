"""The result of an export, and the comparison that every export must pass."""

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
    """A file or folder that another library opens.

    Attributes:
        path: the path of the file or folder.
        max_abs_difference: the largest difference between the outputs of both libraries.
        usage: lines of Python that use it.
        library: the library that was used for the comparison.
    """

    path: Path
    max_abs_difference: float
    usage: str
    library: str


def largest_difference(
    ours: Callable[[Tensor], Tensor], theirs: Callable[[Tensor], Tensor], *, shape: tuple[int, ...]
) -> float:
    """The largest difference between the outputs of two networks on random images, in batches of two sizes.

    Args:
        ours: a function of images (B, C, H, W) float32 in [0, 1].
        theirs: another function of the same images.
        shape: the shape (C, H, W) of an image.

    Returns:
        The difference; NaN if one of the outputs holds a NaN.
    """
    generator = torch.Generator().manual_seed(0)
    with torch.inference_mode():
        batches = [torch.rand(size, *shape, generator=generator) for size in _BATCHES]
        return float(torch.stack([(ours(images) - theirs(images)).abs().max() for images in batches]).max())


def largest_number(network: Callable[[Tensor], Tensor], *, shape: tuple[int, ...]) -> float:
    """The largest absolute number in the outputs of a network on the images of :func:`largest_difference`.

    Args:
        network: a function of images (B, C, H, W) float32 in [0, 1].
        shape: the shape (C, H, W) of an image.
    """
    return largest_difference(network, lambda images: torch.zeros(()), shape=shape)


def require_agreement(difference: float, *, at_most: float = TOLERANCE) -> None:
    """Raise unless the reloaded network computes the same as ours.

    Args:
        difference: the largest difference of their outputs.
        at_most: the largest difference that is allowed.

    Raises:
        FileRefusedError: the difference is larger, or NaN.
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
    """Write tensors to a file, reload them in another library and compare; return the largest difference.

    Args:
        ours: our encoder in eval mode.
        state: the tensors by the names of the other library.
        file: the file to write.
        reload: makes the network of the other library from the file.
        shape: the shape (C, H, W) of an image.

    Raises:
        FileRefusedError: the difference is above 1e-4; the file is not kept.
    """
    with staged_folder(file.parent) as folder:
        save_file({name: tensor.contiguous().clone() for name, tensor in state.items()}, folder / file.name)
        worst = largest_difference(ours, reload(folder / file.name).eval(), shape=shape)
        require_agreement(worst)
    return worst
