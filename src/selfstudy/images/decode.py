"""Bytes to pixels, by Pillow with an explicit list of formats; every problem becomes a reason.

Unusual files: EXIF rotation is applied; palette and CMYK images become RGB; transparent images are composited on white;
16-bit values are divided by 65535 and become float32; float values must lie in [0, 1]; of an animation the first frame
is used. Gray images keep one channel.
"""

import io
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torchvision.transforms.v2.functional as TF
from PIL import Image, ImageOps
from torch import Tensor

from selfstudy.errors import DataError

PILLOW_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
MAX_PIXELS = 64_000_000
MAX_BYTES = 200_000_000
_ORIENTATION = 0x0112  # the EXIF tag; values 5 to 8 mean a rotation by 90 degrees
_CHANNELS = {"1": 1, "L": 1, "LA": 1, "I;16": 1, "I": 1, "F": 1, "P": 3, "RGB": 3, "RGBA": 3, "CMYK": 3, "YCbCr": 3}


class BadInput(DataError):
    """An input cannot be used; the message is the reason, without the name of the input."""


class Header(NamedTuple):
    """The contents of an image's header.

    Attributes:
        format: the name of the format.
        height: the height in pixels, after EXIF rotation.
        width: the width in pixels, after EXIF rotation.
        channels: the number of channels after decoding.
    """

    format: str
    height: int
    width: int
    channels: int


def decode_file(path: str | Path, *, channels: int | None = None) -> Tensor:
    """The image in a file: (C, H, W) uint8, or float32 in [0, 1] for 16-bit and float files.

    Raises:
        BadInput: the file cannot be read or decoded, or does not have ``channels`` channels.
    """
    return with_channels(decode(read_bytes(Path(path))), channels)


def read_bytes(path: Path) -> bytes:
    """The content of a regular file of at most ``MAX_BYTES`` bytes.

    Raises:
        BadInput: it is not a regular file, it is too large, or the system refuses.
    """
    try:
        if not path.is_file():
            raise BadInput(f"{path} is not a file" if path.exists() else f"{path} does not exist")
        if path.stat().st_size > MAX_BYTES:
            raise BadInput(f"{path.stat().st_size:,} bytes, more than {MAX_BYTES:,}")
        return path.read_bytes()
    except OSError as error:
        raise BadInput(error.strerror or str(error)) from None


def header(content: bytes) -> Header:
    """The header of an encoded image, read without decoding the pixels.

    Raises:
        BadInput: the format is unknown, or the image has too many pixels.
    """
    with _opened(content) as image:
        width, height = image.size
        # For EXIF after the pixels of a PNG, Pillow decodes all of them; EXIF before them is already in ``info``.
        if image.format != "PNG" or "exif" in image.info:
            try:
                sideways = image.getexif().get(_ORIENTATION, 1) >= 5
            except Exception as error:  # decoders raise many kinds of errors; each means that the file cannot be read
                raise BadInput(f"{type(error).__name__}: {error}") from None
            width, height = (height, width) if sideways else (width, height)
        return Header(image.format or "", height, width, _channels(image))


def decode(content: bytes, side: int | None = None) -> Tensor:
    """The pixels (C, H, W) of an encoded image, uint8, or float32 in [0, 1].

    Args:
        content: the bytes of the image.
        side: the shorter side in pixels that a larger image is shrunk to; None keeps its size. A large JPEG is decoded
            at a half, a quarter or an eighth of its size, which saves most of the time and the memory.

    Raises:
        BadInput: the image is truncated, damaged, too large, or of a kind that cannot be represented.
    """
    return decode_with_format(content, side)[0]


def decode_with_format(content: bytes, side: int | None = None) -> tuple[Tensor, str]:
    """The pixels as :func:`decode` returns them, and the name of the format."""
    with _opened(content) as image:
        if side is not None:
            short = min(image.size)
            width, height = (max(1, length * min(side, short) // short) for length in image.size)
            image.draft(None, (width, height))  # the smallest of libjpeg's scales that is not below this size
        return shrunk(decode_image(image), side), image.format or ""


def shrunk(image: Tensor, side: int | None) -> Tensor:
    """The image (C, H, W), with antialiasing shrunk to a shorter side of ``side`` pixels if it is larger.

    Args:
        image: (C, H, W) uint8, or float32 in [0, 1].
        side: the shorter side of the result in pixels; None keeps the image.
    """
    short = min(image.shape[-2:])
    if side is None or short <= side:
        return image
    size = [max(side, round(length * side / short)) for length in image.shape[-2:]]
    small: Tensor = TF.resize(image, size, antialias=True)
    return small


def decode_image(image: Image.Image) -> Tensor:
    """The pixels (C, H, W) of a PIL image, as :func:`decode` returns them.

    Raises:
        BadInput: the image is damaged, too large, or of a kind that is not supported.
    """
    try:
        image.load()
        upright = ImageOps.exif_transpose(image)
    except Exception as error:  # decoders raise many kinds of errors; each means that the file cannot be read
        raise BadInput(f"{type(error).__name__}: {error}") from None
    return _pixels(upright)


def with_channels(image: Tensor, channels: int | None) -> Tensor:
    """The image (C, H, W) with the number of channels that is asked for; one channel is repeated for three.

    Args:
        image: (C, H, W) of any dtype.
        channels: the number of channels; None keeps the image as it is.

    Raises:
        BadInput: the numbers differ in any other way: colour is never dropped.
    """
    if channels is None or image.shape[0] == channels:
        return image
    if image.shape[0] == 1 and channels == 3:
        return image.expand(3, -1, -1).contiguous()
    raise BadInput(f"has {image.shape[0]} channels, {channels} are needed")


def _opened(content: bytes) -> Image.Image:
    """The image, opened but not decoded, after its size is checked."""
    if not content:
        raise BadInput("empty file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(content), formats=PILLOW_FORMATS)
    except Exception as error:
        if isinstance(error, Image.DecompressionBombWarning | Image.DecompressionBombError):
            raise BadInput(f"more than {MAX_PIXELS:,} pixels") from None
        raise BadInput("not an image of a known format (" + ", ".join(PILLOW_FORMATS) + ")") from None
    if image.width * image.height > MAX_PIXELS:
        raise BadInput(f"{image.width * image.height:,} pixels, more than {MAX_PIXELS:,}")
    return image


def _channels(image: Image.Image) -> int:
    if image.mode.startswith("I;16"):
        return 1
    if image.mode not in _CHANNELS:
        raise BadInput(f"pixel mode {image.mode!r} is not supported")
    return _CHANNELS[image.mode]


def _pixels(image: Image.Image) -> Tensor:
    """The pixels (C, H, W) of a loaded image."""
    if image.mode.startswith("I;16") or image.mode == "I":
        return _sixteen_bit(np.asarray(image).astype(np.int64))
    if image.mode == "F":
        values = np.array(image, dtype=np.float32)
        if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1):
            raise BadInput(f"float values from {values.min():g} to {values.max():g}; only [0, 1] is unambiguous")
        return torch.from_numpy(values)[None]
    _channels(image)
    if image.mode in ("RGBA", "LA") or "transparency" in image.info:
        gray = image.mode in ("LA", "L", "1")
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("L" if gray else "RGB")
    elif image.mode not in ("L", "RGB"):
        image = image.convert("L" if image.mode == "1" else "RGB")
    array = np.array(image)
    return torch.from_numpy(array[None] if array.ndim == 2 else np.ascontiguousarray(array.transpose(2, 0, 1)))


def _sixteen_bit(values: np.ndarray) -> Tensor:
    if values.min() < 0 or values.max() > 65535:
        raise BadInput(f"integer values from {values.min()} to {values.max()}; only 16 bits are supported")
    return torch.from_numpy((values / 65535).astype(np.float32))[None]
