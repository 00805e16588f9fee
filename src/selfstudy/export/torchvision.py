"""An image encoder as a state dict of torchvision."""

from pathlib import Path

import torchvision
from safetensors.torch import load_file
from torch import Tensor, nn

from selfstudy.encoders.packages import refuse_export
from selfstudy.encoders.store import load_encoder
from selfstudy.errors import UsageError
from selfstudy.export.result import ExportResult, write_and_compare

_SAME_NETWORK = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")


def export_torchvision(encoder_folder: Path, out: Path) -> ExportResult:
    """Write ``out/model.safetensors`` for the ResNet of the same name in torchvision, reload it there and compare.

    The plain ResNets of timm and torchvision are the same networks with the same names of tensors, except for the
    classifier ``fc``, which an encoder does not have.

    Raises:
        UsageError: torchvision does not have this network.
        FileRefusedError: the encoder is damaged, or the reloaded network computes something else.
    """
    encoder, config = load_encoder(encoder_folder)
    name, channels = config["name"], config["channels"]
    refuse_export(name, "torchvision")
    if name not in _SAME_NETWORK:
        raise UsageError(f"torchvision has no {name}\nallowed: {', '.join(_SAME_NETWORK)}; use --to timm")
    lines = [f"model = torchvision.models.{name}()", "model.fc = torch.nn.Identity()"]
    if channels != 3 or config["stem"] == "small":
        stride = 1 if config["stem"] == "small" else 2
        lines.append(f"model.conv1 = torch.nn.Conv2d({channels}, 64, 7, stride={stride}, padding=3, bias=False)")
    if config["stem"] != "stock":
        lines.append("model.maxpool = torch.nn.Identity()")

    def reload(file: Path) -> nn.Module:
        return _network(name, channels, config["stem"], load_file(file))

    file, shape = out / "model.safetensors", (channels, *config["image_size"])
    worst = write_and_compare(encoder, encoder.network.state_dict(), file=file, reload=reload, shape=shape)
    load = f"model.load_state_dict(load_file({str(file)!r}))"
    usage = "\n".join(["import torch, torchvision", "from safetensors.torch import load_file", *lines, load])
    return ExportResult(file, worst, usage, "torchvision")


def _network(name: str, channels: int, stem: str, state: dict[str, Tensor]) -> nn.Module:
    """The network of torchvision with the input layer and the weights of the encoder."""
    network: nn.Module = torchvision.models.get_model(name)
    network.fc = nn.Identity()
    network.conv1 = nn.Conv2d(channels, 64, 7, stride=1 if stem == "small" else 2, padding=3, bias=False)
    if stem != "stock":
        network.maxpool = nn.Identity()
    network.load_state_dict(state, strict=True)
    return network
