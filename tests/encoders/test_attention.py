"""The recomputed attention against the weights that timm's own unfused attention drops out."""

import pytest
import torch

from selfstudy.encoders.attention import last_attention, spell_out_attention
from selfstudy.encoders.timm import EncoderSpec, build_encoder


def _encoder(name="test_vit", size=(16, 24), **options):
    torch.manual_seed(0)
    return build_encoder(EncoderSpec(name, size, patch_size=4, **options)).eval()


def _timms(encoder, images):
    """The whole attention matrix (B, heads, P + N, P + N) of the last block, as timm computes it without fusing."""
    attention, seen = encoder.network.blocks[-1].attn, []
    attention.fused_attn = False
    handle = attention.attn_drop.register_forward_hook(lambda module, inputs, output: seen.append(output))
    with torch.no_grad():
        encoder(images)
    handle.remove()
    return seen[0]


def test_the_attention_of_the_class_token_is_timms():
    encoder, images = _encoder(pool="token"), torch.randn(2, 3, 16, 24)
    found, whole = last_attention(encoder, images), _timms(encoder, images)
    assert found.shape == (2, whole.shape[1], 4, 6) and bool((found >= 0).all())
    torch.testing.assert_close(found.flatten(2), whole[:, :, 0, 1:], atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("name", ["test_vit", "test_vit2"])
def test_where_no_class_token_is_read_the_mean_query_asks(name):
    """One has a class token that its pooling leaves out, the other a register instead of it."""
    encoder, images = _encoder(name, pool="avg"), torch.randn(2, 3, 16, 24)
    with torch.no_grad():  # equal queries: their mean's attention is that of each of them
        attention = encoder.network.blocks[-1].attn
        width = attention.qkv.in_features
        attention.qkv.weight[:width] = 0
        attention.qkv.bias[:width] = torch.randn(width)
    found, whole = last_attention(encoder, images), _timms(encoder, images)
    torch.testing.assert_close(found.flatten(2), whole[:, :, -1, 1:], atol=1e-6, rtol=1e-4)


def test_another_kind_of_block_gives_nothing():
    encoder = _encoder()
    encoder.network.blocks[-1].attn = torch.nn.Identity()
    assert last_attention(encoder, torch.randn(1, 3, 16, 24)) is None


def test_nothing_is_left_on_the_encoder():
    encoder = _encoder()
    last_attention(encoder, torch.randn(1, 3, 16, 24))
    assert not encoder.network.blocks[-1].attn._forward_pre_hooks


def test_spelled_out_attention_gives_the_same_embedding_and_gradients():
    encoder, images = _encoder(), torch.randn(2, 3, 16, 24)
    found = []
    for _ in range(2):
        encoder.zero_grad()
        embedding = encoder(images)
        embedding.square().sum().backward()
        found.append((embedding.detach(), encoder.network.blocks[0].attn.qkv.weight.grad.clone()))
        spell_out_attention(encoder)
    assert not any(block.attn.fused_attn for block in encoder.network.blocks)
    torch.testing.assert_close(found[1], found[0], atol=1e-5, rtol=1e-4)
