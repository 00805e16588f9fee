"""The data half of a method: which random views of an image it wants, as plain values."""

from typing import NamedTuple


class View(NamedTuple):
    """One kind of random view, taken ``count`` times from every image.

    Attributes:
        size: (height, width) of the view in pixels.
        count: how many views of this kind.
        scale: range of the random resized crop's area as a fraction of the image's; (1, 1) with ratio (1, 1) keeps all.
        ratio: range of the crop's aspect ratio (width / height), drawn log-uniformly.
        flip: probability of a horizontal flip.
        jitter: strengths of brightness, contrast, saturation and hue (hue at most 0.5), as in torchvision.
        jitter_probability: probability that the colour jitter is applied at all.
        grayscale: probability of dropping colour (three channels only).
        blur: probability of a Gaussian blur.
        blur_sigma: range of its standard deviation in pixels.
        solarize: probability of inverting every value at or above ``solarize_threshold``.
        solarize_threshold: in [0, 1].
    """

    size: tuple[int, int]
    count: int = 1  # type: ignore[assignment]  # hides tuple.count, which no one calls on a spec
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: float = 0.5
    jitter: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    jitter_probability: float = 0.8
    grayscale: float = 0.0
    blur: float = 0.0
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    solarize: float = 0.0
    solarize_threshold: float = 0.5


def num_views(views: list[View]) -> int:
    """How many tensors a method receives for these specs."""
    return sum(view.count for view in views)
