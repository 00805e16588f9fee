"""The abstract encoders: what a subclass must define, and how missing special tokens are reported."""

import pytest
import torch
from torch import nn

from selfstudy.encoders.base import Encoder, LanguageEncoder, TokenEncoder, Vocabulary, layer_rates
from selfstudy.encoders.timm import EncoderSpec, build_encoder
from selfstudy.errors import UsageError


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        (Encoder, {"forward"}),
        (TokenEncoder, {"forward", "tokens", "embed_and_tokens", "embed_and_blocks"}),
        (LanguageEncoder, {"forward", "states", "logits", "head_parameters", "pooled"}),
    ],
)
def test_a_subclass_must_define_what_methods_call(kind, wanted):
    assert kind.__abstractmethods__ == wanted
    with pytest.raises(TypeError, match="abstract"):
        type("Incomplete", (kind,), {})()


def test_an_encoder_is_a_module_with_its_parameters():
    class Mean(Encoder):
        def __init__(self):
            super().__init__()
            self.embed_dim, self.scale = 3, nn.Parameter(torch.ones(3))

        def forward(self, x):
            return x.mean(dim=(2, 3)) * self.scale

    encoder = Mean()
    assert encoder(torch.zeros(2, 3, 4, 4)).shape == (2, 3) and len(list(encoder.parameters())) == 1


def test_a_special_token_is_found_by_name_or_refused():
    vocabulary = Vocabulary(30, pad=0, mask=4)
    assert vocabulary.id_of("pad") == 0 and vocabulary.id_of("mask") == 4
    with pytest.raises(UsageError, match="the tokenizer has no eos token, which this method needs\nuse another"):
        vocabulary.id_of("eos")


def test_layers_learn_slower_the_further_they_are_from_the_output():
    encoder = build_encoder(EncoderSpec("test_vit", (32, 32), patch_size=8))
    rates, names = layer_rates(encoder, 0.5), dict(encoder.network.named_parameters())
    depth = len(encoder.network.blocks)
    assert rates.keys() == set(encoder.parameters()) and rates[names["norm.weight"]] == 0.5
    assert rates[names["pos_embed"]] == rates[names["patch_embed.proj.weight"]] == 0.5 ** (depth + 1)
    assert [rates[names[f"blocks.{n}.norm1.weight"]] for n in (0, depth - 1)] == [0.5**depth, 0.5]


def test_without_layer_decay_any_module_will_do_and_with_it_the_layers_must_be_known():
    assert layer_rates(nn.Linear(2, 2), 1.0) == {}
    with pytest.raises(UsageError, match="optimizer.layer_decay=0.9: the layers of Linear are not known\nleave it out"):
        layer_rates(nn.Linear(2, 2), 0.9)
