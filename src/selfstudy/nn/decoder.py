"""A transformer that predicts something for some patches from the tokens of others."""

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from selfstudy.ops.patches import sincos_positions


class PatchDecoder(nn.Module):
    """A narrow transformer from the tokens of known patches to a vector for each wanted patch.

    Every known token is projected to the decoder's width, and every wanted patch starts as one learnt mask token. Both
    carry fixed sin-cos positions, so the order of the patches does not matter. With all other patches wanted, it is
    MAE's decoder (He et al. 2022, arXiv:2111.06377, section 3); with a block of them wanted, it is I-JEPA's predictor
    (Assran et al. 2023, arXiv:2301.08243, section 3).

    Args:
        embed_dim: the width D of the encoder's tokens.
        output_dim: the length P of the vectors.
        width: the width W of the decoder, a multiple of 4 and of ``heads``.
        depth: the number of blocks.
        heads: the number of attention heads.
    """

    def __init__(self, embed_dim: int, output_dim: int, *, width: int, depth: int, heads: int) -> None:
        super().__init__()
        self.mask_token = nn.Parameter(torch.zeros(width))
        self.embed = nn.Linear(embed_dim, width)
        self.blocks = nn.Sequential(*[Block(width, heads, qkv_bias=True) for _ in range(depth)])
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.head = nn.Linear(width, output_dim)
        nn.init.normal_(self.mask_token, std=0.02)
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)

    def forward(self, tokens: Tensor, known: Tensor, wanted: Tensor, grid: tuple[int, int]) -> Tensor:
        """Return the vectors (B, M, P) of the wanted patches.

        Args:
            tokens: the tokens (B, K, D) of the known patches.
            known: the numbers (B, K) int64 of the known patches.
            wanted: the numbers (B, M) int64 of the wanted patches.
            grid: the numbers of (rows, columns) of patches.
        """
        positions = sincos_positions(grid, len(self.mask_token), tokens.device).to(self.mask_token.dtype)
        seen = self.embed(tokens) + positions[known]  # (B, K, W)
        x = torch.cat([seen, self.mask_token + positions[wanted]], dim=1)  # (B, K + M, W)
        x = self.norm(self.blocks(x)[:, known.shape[1] :])
        vectors: Tensor = self.head(x)
        return vectors
