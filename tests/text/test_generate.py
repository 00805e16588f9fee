"""The logits of the next token, the filters over them, and what is drawn."""

import math

import pytest
import torch
from transformers import DynamicCache

from selfstudy.encoders.base import Vocabulary
from selfstudy.encoders.text import build_text_encoder
from selfstudy.errors import DataError, UsageError
from selfstudy.text.generate import filtered, next_logits, sample_token


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def _encoder(layout, pad):
    torch.manual_seed(0)
    vocabulary = Vocabulary(20, pad=pad, cls=2, sep=3, mask=4, eos=5)
    return build_text_encoder(f"{layout}-tiny", vocabulary, head=True, context=16).eval()


@pytest.mark.parametrize("layout", ["gpt2", "llama"])
@pytest.mark.parametrize("pad", [0, None])
@torch.inference_mode()
def test_cached_logits_are_those_of_the_whole_text_to_the_context_and_beyond(layout, pad):
    encoder, cache = _encoder(layout, pad), DynamicCache()
    ids = [5, 7, 0, 9, 9, 11, 0, *range(8, 20), 6, 7, 8]  # entry 0 is text where there is no padding
    for length in range(3, len(ids) + 1):
        whole = encoder.logits(encoder.states(torch.tensor([ids[:length][-16:]]))[0, -1])
        found = next_logits(encoder, ids[:length], 16, cache=cache)
        torch.testing.assert_close(found, whole, atol=1e-5, rtol=0)


@torch.inference_mode()
def test_a_cached_text_is_read_once_and_a_text_beyond_the_context_again():
    encoder, cache, lengths = _encoder("llama", None), DynamicCache(), []
    encoder.network.model.embed_tokens.register_forward_hook(lambda _, given, __: lengths.append(given[0].shape[1]))
    for length in (10, 11, 12, 16, 17, 18):
        next_logits(encoder, [5] * length, 16, cache=cache)
    assert lengths == [10, 1, 1, 4, 16, 16]


def slow_filtered(logits, temperature, top_k, top_p):
    """The definition with dictionaries: sort, cut, sum until p is reached."""
    alive = sorted(range(len(logits)), key=lambda i: (-logits[i], i))
    weight = {i: math.exp((logits[i] - max(logits)) / temperature) for i in alive}
    alive = alive[: top_k or len(alive)]
    total, running, kept = sum(weight[i] for i in alive), 0.0, []
    for i in alive:
        kept.append(i)
        running += weight[i] / total
        if top_p is not None and top_p < 1 and running >= top_p:
            break
    total = sum(weight[i] for i in kept)
    return [math.log(weight[i] / total) if i in kept else -math.inf for i in range(len(logits))]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("top_k", [None, 1, 5, 1000])
@pytest.mark.parametrize("top_p", [None, 0.01, 0.5, 0.9, 1.0])
def test_filtering_equals_the_slow_loop(temperature, top_k, top_p):
    logits = torch.randn(30, generator=generator()) * 2
    found = filtered(logits, temperature=temperature, top_k=top_k, top_p=top_p)
    torch.testing.assert_close(found, torch.tensor(slow_filtered(logits.tolist(), temperature, top_k, top_p)))
    assert float(found.exp().sum()) == pytest.approx(1, abs=1e-5)


def test_the_token_that_crosses_p_stays():
    logits = torch.tensor([0.125, 0.5, 0.25, 0.125]).log()
    alive = lambda **settings: filtered(logits, **settings).isfinite().tolist()  # noqa: E731
    assert alive(top_p=0.4) == [False, True, False, False]
    assert alive(top_p=0.6) == [False, True, True, False]
    assert alive(top_p=0.76) == [True, True, True, False]  # the first among equals
    assert alive(top_p=1.0) == [True] * 4


def test_the_nucleus_is_that_of_what_top_k_left():
    logits = torch.tensor([0.4, 0.3, 0.2, 0.1]).log()
    # of the two that are left the first has 4/7 = 0.57, of all four 0.4
    assert filtered(logits, top_k=2, top_p=0.5).isfinite().tolist() == [True, False, False, False]
    assert filtered(logits, top_p=0.5).isfinite().tolist() == [True, True, False, False]


def test_temperature_zero_is_greedy_and_a_tiny_one_is_almost():
    logits = torch.tensor([1.0, 3.0, 3.0, -math.inf])
    assert filtered(logits, temperature=0).tolist() == [-math.inf, 0.0, -math.inf, -math.inf]
    for tiny in (1e-6, 1e-40, 1e-310):
        assert filtered(logits, temperature=tiny).exp().tolist() == pytest.approx([0, 0.5, 0.5, 0])


def test_without_a_filter_it_is_log_softmax_whatever_is_added_to_the_logits():
    logits = torch.randn(20, generator=generator())
    torch.testing.assert_close(filtered(logits), logits.log_softmax(0))
    torch.testing.assert_close(filtered(logits + 1000, top_p=0.8), filtered(logits, top_p=0.8), atol=1e-3, rtol=1e-3)


def test_the_order_of_the_vocabulary_does_not_matter():
    logits, order = torch.randn(20, generator=generator()), torch.randperm(20, generator=generator(1))
    settings = {"temperature": 0.7, "top_k": 9, "top_p": 0.8}
    torch.testing.assert_close(filtered(logits[order], **settings), filtered(logits, **settings)[order])


def test_half_precision_is_filtered_in_float32_and_the_logits_stay():
    logits = torch.randn(50, generator=generator()).bfloat16()
    before = logits.clone()
    found = filtered(logits, top_k=5)
    assert found.dtype == torch.float32 and torch.equal(logits, before)
    torch.testing.assert_close(found, filtered(before.float(), top_k=5))


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": -1.0},
        {"temperature": math.nan},
        {"temperature": math.inf},
        {"top_k": 0},
        {"top_p": 0.0},
        {"top_p": 1.1},
    ],
)
def test_an_undefined_setting_is_refused(settings):
    with pytest.raises(UsageError, match="sampling with temperature=.* is not defined"):
        filtered(torch.zeros(3), **settings)


@pytest.mark.parametrize("logits", [[1.0, math.nan], [1.0, math.inf], [-math.inf, -math.inf]])
def test_logits_without_probabilities_are_refused(logits):
    with pytest.raises(DataError, match="logits of the next token"):
        filtered(torch.tensor(logits))


def test_draws_follow_the_probabilities():
    logits, source = torch.tensor([0.6, 0.3, 0.1]).log(), generator()
    drawn = torch.bincount(torch.tensor([sample_token(logits, generator=source) for _ in range(2000)]), minlength=3)
    # standard deviations 22, 20 and 13
    assert (drawn - torch.tensor([1200, 600, 200])).abs().max() < 80


def test_a_token_that_was_left_out_is_never_drawn():
    logits, source = torch.zeros(6), generator()
    assert {sample_token(logits, top_k=2, generator=source) for _ in range(100)} == {0, 1}
    assert {sample_token(logits, temperature=0, generator=source) for _ in range(5)} == {0}


def test_the_generator_alone_decides():
    logits = torch.randn(50, generator=generator())
    draw = lambda seed: [sample_token(logits, generator=source) for source in [generator(seed)] for _ in range(20)]  # noqa: E731
    state = torch.get_rng_state()
    assert draw(1) == draw(1) != draw(2)
    assert torch.equal(state, torch.get_rng_state())
