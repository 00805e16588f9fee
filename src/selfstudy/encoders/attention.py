"""How vision transformers attend: where the last block looks, and by which kernels."""

from typing import Any

import torch
from timm.models.vision_transformer import Attention
from torch import Tensor, nn

from selfstudy.encoders.timm import TimmTokenEncoder


@torch.no_grad()
def last_attention(encoder: TimmTokenEncoder, images: Tensor) -> Tensor | None:
    """How the last block spreads the attention from which the embedding is made over the patches.

    That is the attention of the class token where the embedding is its output, and otherwise that of the mean query of
    all patches. It is computed here because fused attention never holds it.

    Args:
        encoder: in eval mode.
        images: (B, C, H, W), normalised, of the encoder's own image size.

    Returns:
        (B, heads, rows, columns) of the patch grid; a head's weights sum to 1 less what class and register tokens
        get. None for a transformer whose last block attends in a way of its own.
    """
    network: Any = encoder.network
    attention = getattr(network.blocks[-1], "attn", None)
    if not isinstance(attention, Attention):
        return None
    seen: list[Tensor] = []
    handle = attention.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    try:
        encoder(images)
    finally:
        handle.remove()
    query, key, _ = attention.qkv(seen[0]).unflatten(2, (3, attention.num_heads, -1)).permute(2, 0, 3, 1, 4)
    query, key = attention.q_norm(query), attention.k_norm(key)  # (B, heads, P + N, d), P tokens before the patches
    prefix = int(network.num_prefix_tokens)
    of_class = network.cls_token is not None and network.global_pool == "token"
    query = query[:, :, :1] if of_class else query[:, :, prefix:].mean(dim=2, keepdim=True)
    weights = (query @ key.transpose(2, 3) * attention.scale).softmax(dim=3)  # (B, heads, 1, P + N)
    patches: Tensor = weights[:, :, 0, prefix:].unflatten(2, encoder.grid)
    return patches


def spell_out_attention(network: nn.Module) -> None:
    """Make timm's attention two matrix products and a softmax instead of torch's fused kernel, in place.

    The fused kernel's backward pass in bfloat16 is slow on processors: test_vit at 17 tokens trains 2.9 times as fast
    without it, and 1.5 times as fast as in float32 (docs/log.md, 2026-11-25). The sums are the same.
    """
    for module in network.modules():
        if isinstance(module, Attention):
            module.fused_attn = False
