"""Vectors of texts do not depend on the texts beside them."""

import numpy as np
import pytest
import torch

from selfstudy.data.tokenizer import train_tokenizer
from selfstudy.encoders.base import Vocabulary
from selfstudy.encoders.text import build_text_encoder
from selfstudy.text_embedder import TextEmbedder

TEXTS = ["a red ball", "a ball", "a large and a small red ball in a box", "", "box"]


@pytest.mark.parametrize("layout", ["gpt2", "llama", "bert"])
@pytest.mark.parametrize("pad", [0, None])
def test_a_text_has_the_same_vector_alone_and_among_longer_ones(layout, pad):
    torch.manual_seed(0)
    tokenizer = train_tokenizer(TEXTS, kind="char", vocab_size="auto", corpus_bytes=100)
    vocabulary = Vocabulary(tokenizer.get_vocab_size(), pad=pad, cls=2, sep=3, mask=4, eos=5)
    changes = {"width": 16, "depth": 2, "heads": 2}
    encoder = build_text_encoder(f"{layout}-tiny", vocabulary, head=False, context=16, changes=changes).eval()
    embedder = TextEmbedder(encoder, tokenizer, {"context": 16}, device=torch.device("cpu"))
    together = embedder.embed(TEXTS)
    apart = np.concatenate([embedder.embed(text) for text in TEXTS])
    np.testing.assert_allclose(together, apart, atol=1e-5)
