"""The description of a saved encoder: a JSON file, read through a closed model, with the digests of the other files."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors.torch import save
from torch import Tensor

from selfstudy.disk.atomic import replace_file
from selfstudy.disk.reading import file_digest, read_json
from selfstudy.errors import FileRefusedError, first_line
from selfstudy.version import __version__

FORMAT_VERSION = 1
MAX_BYTES = 1_000_000
"""The largest description that is read."""


class EncoderDescription(BaseModel):
    """The fields of every description; a subclass adds those that rebuild its network and prepare its inputs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format_version: int = FORMAT_VERSION
    selfstudy_version: str = __version__
    method: str
    weights: str = Field(pattern="^(student|teacher)$")
    seed: int
    embed_dim: int
    sha256: str
    whitening_sha256: str | None = None  # of a file that runs of earlier versions do not have


Description = TypeVar("Description", bound=EncoderDescription)


def require_finite(state: Mapping[str, Tensor]) -> None:
    """Raise if a tensor is not finite.

    Raises:
        FileRefusedError: a weight is infinite or NaN; the message names the tensor.
    """
    for name, tensor in state.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise FileRefusedError(f"{name} is not finite: such an encoder is not saved")


def write_weights(file: Path, state: Mapping[str, Tensor]) -> str:
    """Write tensors as a safetensors file, whose folder is made if it does not exist, and return its SHA-256 digest.

    Raises:
        FileRefusedError: a weight is not finite.
    """
    require_finite(state)
    packed = save({name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()})
    file.parent.mkdir(parents=True, exist_ok=True)
    replace_file(file, packed)
    return hashlib.sha256(packed).hexdigest()


def write_description(file: Path, description: EncoderDescription) -> None:
    """Write a description, after the files whose digests it holds."""
    replace_file(file, (description.model_dump_json(indent=1) + "\n").encode())


def require_digest(file: Path, sha256: str, *, listed_in: str) -> None:
    """Raise if a file is missing or has another digest.

    Raises:
        FileRefusedError: in both cases.
    """
    _require_file(file)
    if file_digest(file) != sha256:
        raise FileRefusedError(
            f"{file}: its digest is not the one in {listed_in}; the file is damaged or belongs to another encoder"
        )


def read_description(file: Path, model: type[Description]) -> Description:
    """The validated description in ``file``.

    Raises:
        FileRefusedError: the file is missing, too large, not JSON, written by another library or another version, or
            holds anything that ``model`` does not allow.
    """
    if not file.parent.is_dir():
        raise FileRefusedError(f"the folder {file.parent} does not exist\nname a run, or the encoder/ folder of one")
    _require_file(file)
    content = read_json(file, MAX_BYTES)
    if "format_version" not in content:
        raise FileRefusedError(f"{file} was written for another library\nname the run, not what was exported from it")
    version = content["format_version"]
    if version != FORMAT_VERSION:
        raise FileRefusedError(f"{file}: format version {version!r}, this selfstudy reads version {FORMAT_VERSION}")
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise FileRefusedError(f"{file}: not an encoder's description: {first_line(error)}") from None


def _require_file(file: Path) -> None:
    if not file.is_file():
        raise FileRefusedError(f"{file} is missing\na finished run has it; was training interrupted?")
