"""The ``encoder/`` folder of a run on images: weights as safetensors, everything else as JSON."""

import hashlib
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from safetensors import SafetensorError
from safetensors.torch import save

from selfstudy.disk.atomic import replace_file
from selfstudy.disk.reading import read_json
from selfstudy.disk.tensor_file import read_tensors
from selfstudy.encoders.description import (
    FORMAT_VERSION,
    MAX_BYTES,
    read_description,
    require_digest,
    require_finite,
)
from selfstudy.encoders.timm import TimmEncoder, build_encoder, spec_of
from selfstudy.errors import FileRefusedError, SelfstudyError, first_line
from selfstudy.version import __version__

_WEIGHTS, _CONFIG = "model.safetensors", "config.json"


class ImageEncoderDescription(BaseModel):
    """All that ``config.json`` may hold."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format_version: int
    selfstudy_version: str
    name: str = Field(pattern=r"^[A-Za-z0-9_.]+$")
    image_size: tuple[int, int]
    channels: int = Field(ge=1, le=1024)
    stem: str = Field(pattern="^(stock|no_pool|small)$")
    patch_size: int | None
    pool: str = Field(default="auto", pattern="^(auto|token|avg)$")
    pretrained: bool = False
    embed_dim: int
    mean: list[float]
    std: list[float]
    weights: str = Field(pattern="^(student|teacher)$")
    method: str
    seed: int
    sha256: str


def save_encoder(
    encoder: TimmEncoder, folder: Path, *, mean: list[float], std: list[float], extra: dict[str, Any]
) -> None:
    """Write an encoder so that :func:`load_encoder` returns the same one.

    Args:
        encoder: an encoder on any device.
        folder: the folder to write into; it is made if it does not exist.
        mean: the mean per channel, in [0, 1], by which images are normalised.
        std: the standard deviation per channel, in [0, 1], by which images are normalised.
        extra: the values of ``weights`` (student or teacher), ``method`` and ``seed``.

    Raises:
        FileRefusedError: a weight is not finite.
    """
    state = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in encoder.network.state_dict().items()}
    require_finite(state)
    packed = save(state)
    description = ImageEncoderDescription(
        format_version=FORMAT_VERSION,
        selfstudy_version=__version__,
        embed_dim=encoder.embed_dim,
        mean=mean,
        std=std,
        sha256=hashlib.sha256(packed).hexdigest(),
        **encoder.description,
        **extra,
    )
    folder.mkdir(parents=True, exist_ok=True)
    replace_file(folder / _WEIGHTS, packed)
    replace_file(folder / _CONFIG, (description.model_dump_json(indent=1) + "\n").encode())


def load_encoder(folder: Path) -> tuple[TimmEncoder, dict[str, Any]]:
    """An encoder in eval mode, and its description.

    Raises:
        FileRefusedError: a file is missing, damaged, from another version, or not what it should be.
    """
    description = read_description(folder / _CONFIG, ImageEncoderDescription)
    require_digest(folder / _WEIGHTS, description.sha256, listed_in=_CONFIG)
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
        return "format_version" in read_json(folder / _CONFIG, MAX_BYTES)
    except FileRefusedError:
        return False
