"""The attention of networks of transformers: torch's fused kernel, and a faster way on processors."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "selfstudy"
"""The name of this attention in a configuration's ``attn_implementation``; it is never saved."""

_LONGEST = 512  # the most tokens whose attention weights are held at once


def attend(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
) -> tuple[Tensor, None]:
    """Return the attention of transformers' ``sdpa``, as matrix products and a softmax in bfloat16 on a processor.

    There the backward pass of the fused kernel takes more time than all matrix products of a small network together.
    Without it networks train 1.3 to 6 times as fast (docs/log.md, 2026-11-25). Scores are rounded to bfloat16, as on
    any device that does not fuse. The softmax itself is computed in float32.

    Args:
        module: the attention layer of transformers.
        query: the queries (B, heads, T, d).
        key: the keys (B, heads, T, d).
        value: the values (B, heads, T, d).
        attention_mask: (B, 1, T, T) bool, True where a token is seen. None if every token sees all tokens, or in a
            causal layer all earlier ones.
        options: ``dropout``, ``scaling`` and ``is_causal``, as transformers passes them.

    Returns:
        The result (B, T, heads, d), and None in place of the weights.
    """
    batch, heads, length, width = query.shape
    if query.device.type != "cpu" or value.dtype != torch.bfloat16 or key.shape != query.shape or length > _LONGEST:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    query, key, value = (part.to(value.dtype).flatten(0, 1) for part in (query, key, value))  # (B heads, T, d)
    if attention_mask is not None:
        seen = attention_mask.expand(batch, heads, length, length).flatten(0, 1)  # (B heads, T, T)
        bias = torch.zeros_like(seen, dtype=value.dtype).masked_fill_(~seen, -torch.inf)
    elif getattr(module, "is_causal", True) if options.get("is_causal") is None else options["is_causal"]:
        bias = torch.full((length, length), -torch.inf, dtype=value.dtype).triu_(1)
    else:
        bias = torch.zeros(length, length, dtype=value.dtype)
    scale = options.get("scaling") or width**-0.5
    weights = torch.baddbmm(bias, query, key.transpose(1, 2), alpha=scale).softmax(dim=2)  # (B heads, T, T)
    weights = F.dropout(weights, options.get("dropout", 0.0))
    return torch.bmm(weights, value).view(batch, heads, length, width).transpose(1, 2), None


AttentionInterface.register(NAME, attend)
AttentionMaskInterface.register(NAME, sdpa_mask)
