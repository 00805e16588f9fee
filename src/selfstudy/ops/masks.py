"""Which patches of an image are hidden: functions of the image's own draws, so that they belong to the image."""

from torch import Tensor


def random_order(draws: Tensor) -> Tensor:
    """A random order of the patches of every image.

    Args:
        draws: (B, N) uniform numbers, one per patch.

    Returns:
        (B, N) int64, patch numbers; the first K of a row are K patches chosen without replacement.
    """
    return draws.argsort(dim=1)
