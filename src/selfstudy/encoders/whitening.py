"""The whitening statistics in an ``encoder/`` folder: a safetensors file, with its digest in the description."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from selfstudy.disk.tensor_file import read_tensors
from selfstudy.encoders.description import (
    Description,
    read_description,
    require_digest,
    write_description,
    write_weights,
)
from selfstudy.errors import FileRefusedError, UsageError
from selfstudy.ops.whitening import Whitening

WHITENING = "whitening.safetensors"


def save_whitening(whitening: Whitening, file: Path, model: type[Description]) -> None:
    """Write statistics next to a description, and then their digest into it.

    Args:
        whitening: the statistics of the encoder in the folder.
        file: the description of the encoder.
        model: the closed model of the description.

    Raises:
        FileRefusedError: the statistics are not finite, or the description is missing or damaged.
    """
    description = read_description(file, model)
    digest = write_weights(file.parent / WHITENING, whitening._asdict())
    write_description(file, description.model_copy(update={"whitening_sha256": digest}))


def load_whitening(folder: Path | None, description: Mapping[str, Any]) -> Whitening:
    """The statistics in an ``encoder/`` folder.

    Args:
        folder: the ``encoder/`` folder of a run; None for an encoder that was not loaded from one.
        description: the description of its encoder.

    Raises:
        UsageError: there is no run, or it is older than such statistics; the message names the command that adds them.
        FileRefusedError: the file is missing, damaged, or does not fit the encoder.
    """
    if folder is None:
        raise UsageError("an encoder that was not loaded from a run has no whitening statistics")
    if description["whitening_sha256"] is None:
        run = folder.parent if folder.name == "encoder" else folder
        raise UsageError(f"{run} has no whitening statistics; add them: selfstudy whiten {run} DATA")
    file = folder / WHITENING
    require_digest(file, description["whitening_sha256"], listed_in="the encoder's description")
    try:
        whitening = Whitening(**read_tensors(file))
    except (SafetensorError, TypeError):
        raise FileRefusedError(f"{file}: not whitening statistics") from None
    width = description["embed_dim"]
    if whitening.mean.shape != (width,) or whitening.projection.ndim != 2 or len(whitening.projection) != width:
        raise FileRefusedError(f"{file}: statistics of another encoder; this one has {width:,} numbers per input")
    return whitening
