"""Encoders small enough to run every check on every method in seconds."""

import timm
import torch
from torch import nn

from selfstudy.encoders.timm import TimmTokenEncoder


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
    )
    return TimmTokenEncoder(network, {}, "")


ENCODERS = {"convnet": ConvNet, "vit": vit}
SMALL_CONFIG = {
    "simclr": {"hidden_dim": 16, "projection_dim": 8},
    "moco": {"hidden_dim": 16, "projection_dim": 8, "queue_size": 20},
    "barlow_twins": {"hidden_dim": 16, "projection_dim": 8},
    "dino": {"hidden_dim": 16, "bottleneck_dim": 8, "output_dim": 12},
}
