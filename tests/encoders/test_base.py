"""The abstract encoders: what a subclass must define, and how missing special tokens are reported."""

import pytest
import torch
from torch import nn

from selfstudy.encoders.base import Encoder, LanguageEncoder, TokenEncoder, Vocabulary
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
