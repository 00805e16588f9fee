"""Encoders that were saved, for every export."""

import torch

from selfstudy.encoders.store import save_encoder
from selfstudy.encoders.timm import EncoderSpec, build_encoder


def saved(folder, spec):
    torch.manual_seed(1)
    encoder = build_encoder(spec)
    encoder.train()
    for _ in range(2):  # statistics that are not the initial ones
        encoder(torch.randn(4, spec.channels, *spec.image_size))
    values = [0.4] * spec.channels
    save_encoder(encoder, folder, mean=values, std=values, extra={"weights": "teacher", "method": "moco", "seed": 0})
    return folder


def run_lines(usage):
    """The model that the printed lines of Python make."""
    names: dict = {}
    exec(usage, names)
    return names["model"].eval()


SPECS = [
    EncoderSpec("resnet18", (32, 32)),
    EncoderSpec("resnet18", (32, 48), 1, stem="small"),
    EncoderSpec("resnet18", (32, 32), 3, stem="no_pool"),
    EncoderSpec("resnet10t", (32, 32), 3),
    EncoderSpec("resnet10t", (32, 32), 4, stem="small"),
    EncoderSpec("vit_tiny_patch16_224", (32, 48), 2),
    EncoderSpec("convnext_atto", (32, 32)),
]
