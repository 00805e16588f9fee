"""The ``encoder/`` folder of a run on images: weights as safetensors, everything else as JSON."""

from pathlib import Path
from typing import Any

from pydantic import Field
from safetensors import SafetensorError

from selfstudy.disk.reading import read_json
from selfstudy.disk.tensor_file import read_tensors
from selfstudy.encoders.description import (
    MAX_BYTES,
    EncoderDescription,
    read_description,
    require_digest,
    write_description,
    write_weights,
)
from selfstudy.encoders.timm import TimmEncoder, build_encoder, spec_of
from selfstudy.errors import FileRefusedError, SelfstudyError, first_line

CONFIG = "config.json"
_WEIGHTS = "model.safetensors"


class ImageEncoderDescription(EncoderDescription):
    """All that ``config.json`` may hold."""

    name: str = Field(pattern=r"^[A-Za-z0-9_.]+$")
    image_size: tuple[int, int]
    channels: int = Field(ge=1, le=1024)
    stem: str = Field(pattern="^(stock|no_pool|small)$")
    patch_size: int | None
    pool: str = Field(default="auto", pattern="^(auto|token|avg)$")
    pretrained: bool = False
    settings: dict[str, Any] | None = None
    mean: list[float]
    std: list[float]
    statistics_images: int = Field(default=0, ge=0)


def save_encoder(
    encoder: TimmEncoder, folder: Path, *, mean: list[float], std: list[float], extra: dict[str, Any]
) -> None:
    """Write an encoder so that :func:`load_encoder` returns the same one.

    Args:
        encoder: an encoder on any device.
        folder: the folder to write into; it is made if it does not exist.
        mean: the mean per channel, in [0, 1], by which images are normalised.
        std: the standard deviation per channel, in [0, 1], by which images are normalised.
        extra: the values of ``weights`` (student or teacher), ``method`` and ``seed``; and ``statistics_images``, the
            number of training images on which its running statistics were set, if they are not those of training.

    Raises:
        FileRefusedError: a weight is not finite.
    """
    digest = write_weights(folder / _WEIGHTS, encoder.network.state_dict())
    description = ImageEncoderDescription(
        embed_dim=encoder.embed_dim,
        mean=mean,
        std=std,
        sha256=digest,
        **encoder.description,
        **extra,
    )
    write_description(folder / CONFIG, description)


def load_encoder(folder: Path) -> tuple[TimmEncoder, dict[str, Any]]:
    """An encoder in eval mode, and its description.

    Raises:
        FileRefusedError: a file is missing, damaged, from another version, or not what it should be.
    """
    description = read_description(folder / CONFIG, ImageEncoderDescription)
    require_digest(folder / _WEIGHTS, description.sha256, listed_in=CONFIG)
    settings = description.model_dump()
    try:
        encoder = build_encoder(spec_of(settings), fetch=False)
        encoder.network.load_state_dict(read_tensors(folder / _WEIGHTS), strict=True)
    except (SelfstudyError, SafetensorError, RuntimeError, TypeError) as error:
        raise FileRefusedError(f"{folder}: does not fit its own description: {first_line(error)}") from None
    return encoder.eval(), settings


def holds_encoder(folder: Path) -> bool:
    """True if :func:`save_encoder` wrote the folder, whether it is whole or damaged."""
    try:
        return "format_version" in read_json(folder / CONFIG, MAX_BYTES)
    except FileRefusedError:
        return False
