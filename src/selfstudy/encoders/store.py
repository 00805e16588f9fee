"""The ``encoder/`` folder: weights as safetensors, everything else as JSON, both checked when they are read."""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load, save

from selfstudy.disk.atomic import replace_file
from selfstudy.encoders.timm import TimmEncoder, build_encoder, spec_of
from selfstudy.errors import FileRefusedError, SelfstudyError, first_line
from selfstudy.version import __version__

FORMAT_VERSION = 1
_WEIGHTS, _CONFIG = "model.safetensors", "config.json"
_MAX_CONFIG_BYTES = 1_000_000


class EncoderConfig(BaseModel):
    """What ``config.json`` may hold: nothing else is accepted."""

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
    """Write an encoder so that :func:`load_encoder` gives it back.

    Args:
        encoder: on any device.
        folder: made when missing.
        mean: per channel, in [0, 1], what its images are normalised by.
        std: likewise.
        extra: ``weights`` (student or teacher), ``method`` and ``seed``.

    Raises:
        FileRefusedError: weights that are not finite.
    """
    state = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in encoder.network.state_dict().items()}
    for name, tensor in state.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise FileRefusedError(f"{name} is not finite: such an encoder is not saved")
    packed = save(state)
    config = EncoderConfig(
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
    replace_file(folder / _CONFIG, (config.model_dump_json(indent=1) + "\n").encode())


def load_encoder(folder: Path) -> tuple[TimmEncoder, dict[str, Any]]:
    """An encoder in eval mode and its configuration.

    Raises:
        FileRefusedError: files that are missing, damaged, from a newer version, or not what they should be.
    """
    config = _read_config(folder / _CONFIG)
    weights = folder / _WEIGHTS
    if not weights.is_file():
        raise FileRefusedError(f"{weights} is missing\na finished run has it; was training interrupted?")
    packed = weights.read_bytes()
    if hashlib.sha256(packed).hexdigest() != config.sha256:
        raise FileRefusedError(f"{weights}: its digest is not the one in {_CONFIG}; the file is damaged or another's")
    settings = config.model_dump()
    try:
        encoder = build_encoder(spec_of(settings), fetch=False)
        encoder.network.load_state_dict(load(packed), strict=True)
    except (SelfstudyError, SafetensorError, RuntimeError, TypeError) as error:
        raise FileRefusedError(f"{folder}: does not fit its own description: {first_line(error)}") from None
    return encoder.eval(), settings


def holds_encoder(folder: Path) -> bool:
    """Whether a folder is one that :func:`save_encoder` wrote, whole or damaged."""
    try:
        return "format_version" in json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return False


def _read_config(file: Path) -> EncoderConfig:
    """The validated ``config.json``."""
    if not file.parent.is_dir():
        raise FileRefusedError(f"there is no folder {file.parent}\nname a run, or the encoder/ folder of one")
    if not file.is_file():
        raise FileRefusedError(f"{file} is missing\na finished run has it; was training interrupted?")
    if file.stat().st_size > _MAX_CONFIG_BYTES:
        raise FileRefusedError(f"{file}: larger than a configuration can be")
    try:
        loaded = json.loads(file.read_text(encoding="utf-8"))
        if isinstance(loaded, dict) and "format_version" not in loaded:
            raise FileRefusedError(
                f"{file} was written for another library\nname the run, not what was exported from it"
            )
        version = loaded["format_version"]
        if version != FORMAT_VERSION:
            raise FileRefusedError(
                f"{file}: format version {version!r}, this is selfstudy for version {FORMAT_VERSION}"
            )
        return EncoderConfig.model_validate(loaded)
    except (ValueError, KeyError, TypeError, RecursionError, ValidationError) as error:
        raise FileRefusedError(f"{file}: not an encoder's configuration: {first_line(error)}") from None
