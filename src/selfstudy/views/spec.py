"""The data half of a method: what it receives for each image or row of text, as plain values."""

from collections.abc import Sequence
from typing import NamedTuple

_SMALL = 64  # pixels: CIFAR, EuroSAT and Tiny ImageNet are small, photographs are not


def is_small(size: tuple[int, int]) -> bool:
    """True if images of this (height, width) are too small for small crops, blur and views at half their size.

    >>> is_small((64, 64)), is_small((32, 65))
    (True, False)
    """
    return max(size) <= _SMALL


class View(NamedTuple):
    """One kind of random view, taken ``count`` times from each image.

    Attributes:
        size: (height, width) of the view in pixels.
        count: number of views of this kind.
        scale: range of the crop's area as a share of the image's; (1, 1) with ratio (1, 1) keeps all.
        ratio: range of the crop's width / height, drawn log-uniformly.
        flip: probability of a horizontal flip.
        vertical_flip: probability of a vertical flip, for images without an up (satellite, microscope).
        jitter: strengths of brightness, contrast, saturation and hue (hue at most 0.5), as in torchvision.
        jitter_probability: probability that the colour jitter is applied at all.
        grayscale: probability of removing colour (three channels only).
        blur: probability of a Gaussian blur.
        blur_sigma: range of its standard deviation in pixels.
        solarize: probability of inverting every value at or above ``solarize_threshold``.
        solarize_threshold: smallest value that is inverted, in [0, 1].
    """

    size: tuple[int, int]
    count: int = 1  # type: ignore[assignment]  # hides tuple.count, which a spec does not need
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: float = 0.5
    vertical_flip: float = 0.0
    jitter: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    jitter_probability: float = 0.8
    grayscale: float = 0.0
    blur: float = 0.0
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    solarize: float = 0.0
    solarize_threshold: float = 0.5


class Draws(NamedTuple):
    """``count`` uniform random numbers per image or row, for decisions of the method, such as a mask.

    The method receives (B, count) float32 in [0, 1). Like a view they belong to the image, so they depend neither on
    its batch nor on the number of processes.
    """

    count: int  # type: ignore[assignment]  # hides tuple.count, which a spec does not need


class Labels(NamedTuple):
    """The class number of each image, (B,) int64; only for methods that declare that they learn from labels."""


class Tokens(NamedTuple):
    """Rows of token ids, (B, T) int64, for methods that learn from text.

    Attributes:
        length: T, the length of the longest row.
        pieces: True if a row is one document, or a piece of a long one, padded to the longest row of its batch. If
            False, all documents form one stream, a row is ``length`` consecutive tokens, and nothing is padded.
        wrapped: True if a row begins with the tokenizer's class token and ends with its separator.
    """

    length: int
    pieces: bool = False
    wrapped: bool = False


Spec = View | Draws | Labels | Tokens


def one_each(specs: Sequence[Spec]) -> list[Spec]:
    """One spec for each tensor that a method receives: a view with a count is repeated ``count`` times."""
    return [spec for spec in specs for _ in range(spec.count if isinstance(spec, View) else 1)]
