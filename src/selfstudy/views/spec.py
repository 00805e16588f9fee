"""The data half of a method: what it wants of every image or row of text, as plain values."""

from collections.abc import Sequence
from typing import NamedTuple

_SMALL = 64  # pixels: CIFAR, EuroSAT and Tiny ImageNet are small, photographs are not


def is_small(size: tuple[int, int]) -> bool:
    """Whether images of this (height, width) show too little for small crops, blur and views at half their size.

    >>> is_small((64, 64)), is_small((32, 65))
    (True, False)
    """
    return max(size) <= _SMALL


class View(NamedTuple):
    """One kind of random view, taken ``count`` times from every image.

    Attributes:
        size: (height, width) of the view in pixels.
        count: how many views of this kind.
        scale: range of the random resized crop's area as a fraction of the image's; (1, 1) with ratio (1, 1) keeps all.
        ratio: range of the crop's aspect ratio (width / height), drawn log-uniformly.
        flip: probability of a horizontal flip.
        vertical_flip: probability of a vertical one, for images without an up (satellite, microscope).
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
    vertical_flip: float = 0.0
    jitter: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    jitter_probability: float = 0.8
    grayscale: float = 0.0
    blur: float = 0.0
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    solarize: float = 0.0
    solarize_threshold: float = 0.5


class Draws(NamedTuple):
    """``count`` uniform random numbers of every image or row, for what a method decides one by one: a mask, a patch.

    The method receives (B, count) float32 in [0, 1). Like a view they belong to the image, so neither the batch it is
    in nor the number of processes changes them.
    """

    count: int  # type: ignore[assignment]  # as above


class Labels(NamedTuple):
    """The class number of every image, (B,) int64; only a method that says openly that it learns from labels asks."""


class Tokens(NamedTuple):
    """Rows of token ids, (B, T) int64: what a method for text wants instead of views.

    Attributes:
        length: T, the longest row.
        pieces: whether a row is one document, or a piece of a long one, padded to the longest of its batch; otherwise
            it is ``length`` consecutive tokens of all documents one after the other, and nothing is padded.
        wrapped: whether a row begins with the tokenizer's class token and ends with its separator.
    """

    length: int
    pieces: bool = False
    wrapped: bool = False


Spec = View | Draws | Labels | Tokens


def one_each(specs: Sequence[Spec]) -> list[Spec]:
    """One spec for each tensor that a method receives: a view taken ``count`` times stands ``count`` times."""
    return [spec for spec in specs for _ in range(spec.count if isinstance(spec, View) else 1)]
