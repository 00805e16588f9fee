"""Encoders small enough to run every check on every method in seconds."""

import importlib

import timm
import torch
from torch import nn

from selfstudy.encoders.timm import TimmTokenEncoder
from selfstudy.methods import method_class


class ConvNet(nn.Module):
    """Two convolutions with BatchNorm, any input size."""

    def __init__(self, channels: int = 3, norm: type[nn.Module] = nn.BatchNorm2d) -> None:
        super().__init__()
        self.embed_dim = 16
        self.body = nn.Sequential(
            nn.Conv2d(channels, 8, 3, stride=2, bias=False), norm(8), nn.ReLU(), nn.Conv2d(8, 16, 3, stride=2), norm(16)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x).relu().mean(dim=(2, 3))


def vit(channels: int = 3) -> TimmTokenEncoder:
    """A vision transformer of two blocks; position embeddings are interpolated to the view's size."""
    network = timm.create_model(
        "vit_tiny_patch16_224",
        img_size=(16, 24),
        patch_size=4,
        depth=2,
        embed_dim=24,
        num_heads=2,
        num_classes=0,
        in_chans=channels,
        dynamic_img_size=True,
        dynamic_img_pad=True,
    )
    return TimmTokenEncoder(network, {}, "")


ENCODERS = {"convnet": ConvNet, "vit": vit}


def small_config(name: str) -> dict:
    """The settings that make a method small enough to test: ``SMALL`` in its own test file."""
    return importlib.import_module(f"tests.methods.test_{name}").SMALL


def fitting(name: str) -> list[str]:
    """The encoders that a method can work with."""
    return ["vit"] if method_class(name).needs_tokens else list(ENCODERS)
