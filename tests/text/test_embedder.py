"""Vectors of texts do not depend on the texts next to them."""

import numpy as np
import pytest
import torch

from selfstudy.encoders.base import Vocabulary
from selfstudy.encoders.text import build_text_encoder
from selfstudy.errors import UsageError
from selfstudy.text.embedder import TextEmbedder
from selfstudy.text.tokenizer import train_tokenizer

TEXTS = ["a red ball", "a ball", "a large and a small red ball in a box", "", "box"]


def _embedder(layout, pad=0, texts=TEXTS, head=False):
    torch.manual_seed(0)
    tokenizer = train_tokenizer(texts, kind="char", vocab_size="auto", corpus_bytes=100)
    vocabulary = Vocabulary(tokenizer.get_vocab_size(), pad=pad, cls=2, sep=3, mask=4, eos=5)
    changes = {"width": 16, "depth": 2, "heads": 2}
    encoder = build_text_encoder(f"{layout}-tiny", vocabulary, head=head, context=16, changes=changes).eval()
    return TextEmbedder(encoder, tokenizer, {"context": 16, "head": head}, device=torch.device("cpu"))


@pytest.mark.parametrize("layout", ["gpt2", "llama", "bert"])
@pytest.mark.parametrize("pad", [0, None])
def test_a_text_has_the_same_vector_alone_and_among_longer_ones(layout, pad):
    embedder = _embedder(layout, pad)
    together = embedder.embed(TEXTS)
    apart = np.concatenate([embedder.embed(text) for text in TEXTS])
    np.testing.assert_allclose(together, apart, atol=1e-5)


@pytest.mark.parametrize("tokens", [0, -3])
def test_a_continuation_of_no_tokens_is_refused(tokens):
    with pytest.raises(UsageError, match=f"tokens {tokens} asks for no continuation\ngive 1 or more"):
        _embedder("gpt2", head=True).complete("a ball", tokens=tokens)


def test_guesses_of_control_characters_stay_on_their_line():
    embedder = _embedder("bert", texts=["a\nb\tc é", "a\x07"], head=True)
    guesses = embedder.fill("a[MASK]b", top=1000)[0]
    assert {r"\n", r"\t", r"\x07", " ", "é", "b"} <= {guess.token for guess in guesses}
    assert all(guess.token.isprintable() for guess in guesses)
    assert "a\nb" in [guess.text for guess in guesses]


@pytest.mark.parametrize("wrong", [None, 0, b"", 3])
def test_what_is_not_a_string_is_refused_even_if_it_is_empty(wrong):
    with pytest.raises(UsageError, match=f"a text encoder embeds strings, got {type(wrong).__name__}"):
        _embedder("bert").embed(["a ball", wrong])


@pytest.mark.parametrize("name", ["<mask>", "<MASK>", "<|mask|>"])
def test_a_mask_may_be_written_in_any_usual_way(name):
    embedder = _embedder("bert", head=True)
    assert embedder.fill(f"a {name} ball") == embedder.fill("a [MASK] ball")
