"""An image encoder as a state dict of timm."""

from pathlib import Path

import timm
from safetensors.torch import load_file
from torch import nn

from selfstudy.encoders.packages import refuse_export
from selfstudy.encoders.store import load_encoder
from selfstudy.encoders.timm import creation_arguments, use_stem
from selfstudy.export.result import ExportResult, write_and_compare


def export_timm(encoder_folder: Path, out: Path) -> ExportResult:
    """Write ``out/model.safetensors`` with the names of timm, reload it in a network of timm and compare.

    Raises:
        FileRefusedError: the encoder is damaged, or the reloaded network computes something else.
    """
    encoder, config = load_encoder(encoder_folder)
    refuse_export(config["name"], "timm")
    options = {"num_classes": 0, **creation_arguments(config)}
    stem = config["stem"]

    def reload(file: Path) -> nn.Module:
        network: nn.Module = timm.create_model(config["name"], **options)
        if stem != "stock":
            use_stem(network, stem)
        network.load_state_dict(load_file(file), strict=True)
        return network

    file, shape = out / "model.safetensors", (config["channels"], *config["image_size"])
    worst = write_and_compare(encoder, encoder.network.state_dict(), file=file, reload=reload, shape=shape)
    arguments = "".join(f", {key}={value!r}" for key, value in options.items())
    change = f"from selfstudy.encoders.timm import use_stem\nuse_stem(model, {stem!r})  # no max-pool\n"
    usage = (
        f"import timm\nfrom safetensors.torch import load_file\n"
        f"model = timm.create_model({config['name']!r}{arguments})\n{change if stem != 'stock' else ''}"
        f"model.load_state_dict(load_file({str(file)!r}))\n"
        f"# images: mean {_short(config['mean'])}, std {_short(config['std'])}"
    )
    return ExportResult(file, worst, usage, "timm")


def _short(values: list[float]) -> list[float]:
    return [round(value, 4) for value in values]
