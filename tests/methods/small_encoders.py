"""Encoders small enough to run every check on every method in seconds."""

import importlib
from functools import partial

import timm
import torch
from torch import nn

from selfstudy.encoders.base import Vocabulary
from selfstudy.encoders.text import TextEncoder, build_text_encoder
from selfstudy.encoders.timm import TimmTokenEncoder
from selfstudy.methods import available, method_class
from selfstudy.methods.solved import SolvedMethod


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
    return TimmTokenEncoder(network, {})


VOCABULARY = Vocabulary(30, pad=0, cls=2, sep=3, mask=4, eos=5)


def text(layout: str, *, head: bool) -> TextEncoder:
    """A text encoder of two layers without dropout, for rows of up to 13 tokens."""
    changes = {"width": 16, "depth": 2, "heads": 2}
    starts_word = torch.arange(VOCABULARY.size) % 2 == 0
    encoder = build_text_encoder(f"{layout}-tiny", VOCABULARY, head=head, context=13, changes=changes)
    return TextEncoder(encoder.network, VOCABULARY, starts_word=starts_word)


ENCODERS = {"convnet": ConvNet, "vit": vit}
SOLVED = [name for name in available() if issubclass(method_class(name), SolvedMethod)]
STEPPED = [name for name in available() if name not in SOLVED]
IMAGE_METHODS = [name for name in STEPPED if method_class(name).reads.modality == "images"]
TEXT_METHODS = [name for name in STEPPED if method_class(name).reads.modality == "text"]


def small_config(name: str) -> dict:
    """The settings that make a method small enough to test: ``SMALL`` in its own test file."""
    return importlib.import_module(f"tests.methods.test_{name}").SMALL


def fitting(name: str) -> list[str]:
    """The encoders that a method can work with."""
    cls = method_class(name)
    if cls.reads.modality == "text":
        heads = {"masked": ["modernbert", "roberta"], "causal": ["gpt2", "llama"]}
        return heads.get(cls.reads.head, ["modernbert", "bert"])
    return ["vit"] if cls.reads.tokens else list(ENCODERS)


def builder(name: str, encoder: str):
    """A function that builds an encoder for a method."""
    if method_class(name).reads.modality == "text":
        return partial(text, encoder, head=bool(method_class(name).reads.head))
    return ENCODERS[encoder]
