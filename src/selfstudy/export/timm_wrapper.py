"""An image encoder as a directory that transformers opens, with its wrapper around networks of timm."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from selfstudy.disk.atomic import staged_folder
from selfstudy.encoders.packages import refuse_export
from selfstudy.encoders.store import load_encoder
from selfstudy.encoders.text import quiet
from selfstudy.encoders.timm import TimmEncoder, creation_arguments
from selfstudy.errors import UsageError
from selfstudy.export.result import ExportResult, largest_difference, require_agreement
from selfstudy.views.augment import normalize

_LOCAL: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}


def export_timm_wrapper(encoder_folder: Path, out: Path) -> ExportResult:
    """Write ``out/``, reload it by ``AutoModel`` and ``AutoImageProcessor`` and compare.

    ``pooler_output`` is the embedding (B, D). The processor prepares images as in the run: it scales them to cover the
    size of the run, cuts out the centre and normalises. It rounds in another way, a pixel by one level of 255 and the
    longer side by one pixel. It does not convert images: they must have the channels of the run, so use
    ``image.convert("RGB")`` for gray images among coloured ones. A tensor (B, C, H, W) float32 in [0, 1] may have any
    number of channels.

    Raises:
        UsageError: the encoder is a ResNet without the max-pool of its stem, which timm cannot build.
        FileRefusedError: the encoder is damaged, or the reloaded network computes something else; nothing is kept.
    """
    encoder, config = load_encoder(encoder_folder)
    refuse_export(config["name"], "transformers")
    if config["stem"] != "stock":
        raise UsageError(
            f"transformers builds networks as timm does, which cannot build a {config['name']} with the stem "
            f"{config['stem']!r}\nuse --to timm or --to onnx, or train with --stem stock"
        )
    shape = (config["channels"], *config["image_size"])
    with staged_folder(out) as folder:
        _write(encoder, config, folder)
        theirs = _reload(folder)
        worst = largest_difference(lambda x: encoder(normalize(x, config["mean"], config["std"])), theirs, shape=shape)
        require_agreement(worst)
    return ExportResult(out, worst, _usage(config, out), "transformers")


def _write(encoder: TimmEncoder, config: dict[str, Any], folder: Path) -> None:
    """Write both files; the settings of the processor are in ``config.json``, where the wrapper reads them."""
    import transformers as hf

    preparation = {
        "input_size": [config["channels"], *config["image_size"]],
        "mean": config["mean"],
        "std": config["std"],
        "interpolation": "bilinear",
        "crop_pct": 1.0,
        "crop_mode": "center",
    }
    settings: dict[str, Any] = {
        "architecture": config["name"],
        "model_args": creation_arguments(config),
        "num_labels": 0,
        "pretrained_cfg": preparation,
    }
    wrapped = hf.TimmWrapperModel(hf.TimmWrapperConfig(**settings))
    wrapped.timm_model.load_state_dict(encoder.network.state_dict(), strict=True)
    with quiet():
        wrapped.save_pretrained(folder)


def _reload(folder: Path) -> Callable[[Tensor], Tensor]:
    """The reloaded network as a function from images (B, C, H, W) float32 in [0, 1] to embeddings (B, D)."""
    import transformers as hf

    auto: Any = hf.AutoImageProcessor
    with quiet():
        network: Any = hf.AutoModel.from_pretrained(folder, use_safetensors=True, dtype=torch.float32, **_LOCAL).eval()
        processor = auto.from_pretrained(folder, **_LOCAL)
    return lambda images: network(**processor(images)).pooler_output


def _usage(config: dict[str, Any], out: Path) -> str:
    """The lines of Python that use the directory."""
    height, width = config["image_size"]
    shape = f"1, {config['channels']}, {height}, {width}"
    return "\n".join(
        [
            "import torch",
            "from transformers import AutoImageProcessor, AutoModel",
            f"processor = AutoImageProcessor.from_pretrained({str(out)!r})",
            f"model = AutoModel.from_pretrained({str(out)!r})",
            f"images = torch.rand({shape})  # in [0, 1]; or PIL images of any size with these channels",
            "vectors = model(**processor(images)).pooler_output",
        ]
    )
