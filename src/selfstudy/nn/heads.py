"""Projection heads: small networks between the encoder and the loss, thrown away after training."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfstudy.ops.precision import full_precision


def mlp(sizes: list[int], *, norm: bool = True, last_norm: bool = False, last_affine: bool = True) -> nn.Sequential:
    """Linear layers of these sizes with BatchNorm and ReLU between them.

    Args:
        sizes: input, hidden and output widths, e.g. ``[512, 2048, 128]``.
        norm: BatchNorm after every hidden layer (which then has no bias of its own).
        last_norm: BatchNorm after the last layer as well.
        last_affine: whether that last BatchNorm has scale and shift.
    """
    layers: list[nn.Module] = []
    for index, (fan_in, fan_out) in enumerate(zip(sizes, sizes[1:], strict=False)):
        last = index == len(sizes) - 2
        normed = last_norm if last else norm
        layers.append(nn.Linear(fan_in, fan_out, bias=not normed))
        if normed:
            layers.append(nn.BatchNorm1d(fan_out, affine=last_affine or not last))
        if not last:
            layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)


class PrototypeHead(nn.Module):
    """DINO's head: three layers, an l2-normalised bottleneck, and K unit-length prototypes as the last layer.

    The prototypes' length is fixed at 1 (``norm_last_layer`` in the authors' code): only their direction is learnt.
    Source: Caron et al. 2021, arXiv:2104.14294, section 3.1 and appendix C.

    Args:
        embed_dim: of the encoder.
        hidden_dim: width of the hidden layers.
        bottleneck_dim: size of the normalised vector.
        output_dim: K.
    """

    def __init__(self, embed_dim: int, *, hidden_dim: int, bottleneck_dim: int, output_dim: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(embed_dim, hidden_dim),
            nn.GELU(),
            nn.Linear(hidden_dim, hidden_dim),
            nn.GELU(),
            nn.Linear(hidden_dim, bottleneck_dim),
        )
        for layer in self.mlp:
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)
        self.prototypes = nn.Parameter(torch.empty(output_dim, bottleneck_dim))
        nn.init.trunc_normal_(self.prototypes, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """Cosines (B, K) of (B, D) embeddings with the prototypes."""
        return _cosines(self.mlp(x), self.prototypes)


@full_precision
def _cosines(x: Tensor, prototypes: Tensor) -> Tensor:
    return F.normalize(x, dim=1) @ F.normalize(prototypes, dim=1).T
