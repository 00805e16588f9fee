"""The attention of vision transformers: where the last block looks, and the kernels that compute it."""

from typing import Any

import torch
from timm.models.vision_transformer import Attention
from torch import Tensor, nn

from selfstudy.encoders.timm import TimmTokenEncoder


@torch.no_grad()
def last_attention(encoder: TimmTokenEncoder, images: Tensor) -> Tensor | None:
    """Return the weights of the last block's attention over the patches, from which the embedding is made.

    If the embedding is the output of the class token, they are that token's attention. Otherwise they are the attention
    of the mean query of all patches. They are computed here because fused attention never holds them.

    Args:
        encoder: the encoder, in eval mode.
        images: normalised images (B, C, H, W) of the encoder's own size.

    Returns:
        Weights (B, heads, rows, columns) on the patch grid. Those of a head sum to 1 minus the weights of class and
        register tokens. None for a transformer whose last block has another kind of attention.
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
    """Replace torch's fused kernel in timm's attention by two matrix products and a softmax, in place.

    The fused kernel's backward pass in bfloat16 is slow on processors. Without it test_vit at 17 tokens trains 2.9
    times as fast, which is 1.5 times as fast as in float32 (docs/log.md, 2026-11-25). The result is the same.
    """
    for module in network.modules():
        if isinstance(module, Attention):
            module.fused_attn = False
