"""Attention spelled out in bfloat16 against transformers' own in float32, and where it is left to transformers."""

import pytest
import torch
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from selfstudy.encoders import text_attention
from selfstudy.encoders.text import build_text_encoder, segments_of
from selfstudy.encoders.text_attention import attend
from selfstudy.encoders.text_catalogue import LAYOUTS
from tests.encoders.test_text import CHANGES, VOCABULARY

SEEN = torch.tensor([[1, 1, 0, 0, 0], [1, 1, 0, 0, 0], [0, 0, 1, 1, 1], [0, 0, 1, 1, 1], [0, 0, 1, 1, 1]]).bool()
MASKS = {"none": None, "of a row": torch.stack([SEEN, SEEN.tril()])[:, None]}  # (2, 1, 5, 5)


class Layer(torch.nn.Module):
    """The facts about a layer that transformers passes on."""

    def __init__(self, causal):
        super().__init__()
        self.is_causal = causal


def _parts(dtype, heads=4):
    torch.manual_seed(0)
    return [torch.randn(2, heads, 5, 8).to(torch.bfloat16).to(dtype) for _ in range(3)]


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("mask", MASKS)
def test_bfloat16_gives_the_sums_of_float32(causal, mask):
    single, half = _parts(torch.float32), _parts(torch.bfloat16)
    for part in (*single, *half):
        part.requires_grad_()
    layer = Layer(causal)
    wanted, _ = sdpa_attention_forward(layer, *single, MASKS[mask], scaling=0.3)
    found, weights = attend(layer, *half, MASKS[mask], scaling=0.3)
    assert weights is None and found.dtype == torch.bfloat16 and found.shape == (2, 5, 4, 8)
    torch.testing.assert_close(found.float(), wanted, atol=0.03, rtol=0.03)
    wanted.square().sum().backward()
    found.float().square().sum().backward()
    for one, other in zip(single, half, strict=True):
        torch.testing.assert_close(other.grad.float(), one.grad, atol=0.15, rtol=0.05)


def test_no_token_sees_what_is_hidden_from_it():
    query, key, value = _parts(torch.bfloat16)
    before, _ = attend(Layer(True), query, key, value, None)
    key[:, :, 3:], value[:, :, 3:] = 9, 9
    after, _ = attend(Layer(True), query, key, value, None)
    assert torch.equal(before[:, :3], after[:, :3]) and not torch.equal(before[:, 3:], after[:, 3:])


def test_dropout_leaves_the_mean_where_it_was():
    query, key, _ = _parts(torch.bfloat16, heads=512)
    ones = torch.ones_like(query)
    dropped, _ = attend(Layer(True), query, key, ones, None, dropout=0.5)
    assert 0.9 < float(dropped.float().mean()) < 1.1 and float(dropped.float().std()) > 0.2


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_other_precisions_are_left_to_transformers(dtype):
    parts = _parts(dtype)
    assert torch.equal(attend(Layer(True), *parts, None)[0], sdpa_attention_forward(Layer(True), *parts, None)[0])


def test_so_are_long_rows(monkeypatch):
    parts = _parts(torch.bfloat16)
    monkeypatch.setattr(text_attention, "_LONGEST", 4)
    assert torch.equal(attend(Layer(True), *parts, None)[0], sdpa_attention_forward(Layer(True), *parts, None)[0])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_attends_this_way(layout, monkeypatch):
    torch.manual_seed(0)
    encoder = build_text_encoder(f"{layout}-tiny", VOCABULARY, head=True, context=12, changes=CHANGES)
    ids = torch.randint(5, 40, (2, 12))
    segments = segments_of(ids, 5)
    wanted, called = encoder.states(ids, segments), []
    monkeypatch.setattr(torch, "baddbmm", lambda *a, f=torch.baddbmm, **k: called.append(1) or f(*a, **k))
    with torch.autocast("cpu", torch.bfloat16):
        found = encoder.states(ids, segments)
    assert len(called) == encoder.depth
    torch.testing.assert_close(found.float(), wanted, atol=0.08, rtol=0.05)


def test_the_name_is_not_written_into_a_directory(tmp_path):
    encoder = build_text_encoder("gpt2-tiny", VOCABULARY, head=True, context=12, changes=CHANGES)
    encoder.network.save_pretrained(tmp_path)
    assert text_attention.NAME not in (tmp_path / "config.json").read_text()


@pytest.mark.parametrize(("length", "times"), [(512, 1), (513, 0)])
def test_weights_are_spelled_out_for_rows_of_512_tokens_and_no_longer_ones(monkeypatch, length, times):
    rows, called = torch.randn(1, 1, length, 8, dtype=torch.bfloat16), []
    monkeypatch.setattr(torch, "baddbmm", lambda *a, f=torch.baddbmm, **k: called.append(1) or f(*a, **k))
    attend(Layer(True), rows, rows, rows, None)
    assert len(called) == times
