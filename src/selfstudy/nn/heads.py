"""Projection heads: small networks between the encoder and the loss, which are thrown away after training."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfstudy.ops.precision import full_precision


def mlp(
    sizes: list[int],
    *,
    norm: bool = True,
    activation: type[nn.Module] = nn.ReLU,
    output_bias: bool = True,
    output_norm: bool = False,
) -> nn.Sequential:
    """Return linear layers of these sizes with BatchNorm and an activation between them.

    Args:
        sizes: the input, hidden and output widths, such as ``[512, 2048, 128]``.
        norm: True for BatchNorm after every hidden layer, which then has no bias.
        activation: the activation after every hidden layer.
        output_bias: True for a bias in the last layer, which is useless if the mean over the batch is subtracted later.
        output_norm: True for BatchNorm without scale and shift after the last layer, which then has no bias.
    """
    layers: list[nn.Module] = []
    for fan_in, fan_out in zip(sizes[:-2], sizes[1:-1], strict=True):
        layers += [
            nn.Linear(fan_in, fan_out, bias=not norm),
            *([nn.BatchNorm1d(fan_out)] if norm else []),
            activation(),
        ]
    layers.append(nn.Linear(sizes[-2], sizes[-1], bias=output_bias and not output_norm))
    return nn.Sequential(*layers, *([nn.BatchNorm1d(sizes[-1], affine=False)] if output_norm else []))


def simsiam_heads(
    embed_dim: int, *, hidden_dim: int, projection_dim: int, bottleneck_dim: int
) -> tuple[nn.Sequential, nn.Sequential]:
    """Return SimSiam's projector, three layers with BatchNorm after each, and its predictor with a narrow middle.

    Source: Chen & He 2021, arXiv:2011.10566, section 3 ("Baseline settings").

    Args:
        embed_dim: the width of the encoder's output.
        hidden_dim: the width of the projector's hidden layers.
        projection_dim: the size of the projections and their predictions.
        bottleneck_dim: the width of the predictor's hidden layer.
    """
    projector = mlp([embed_dim, hidden_dim, hidden_dim, projection_dim], output_norm=True)
    return projector, mlp([projection_dim, bottleneck_dim, projection_dim])


class PrototypeHead(nn.Module):
    """DINO's head: three layers, an l2-normalised bottleneck, and K unit-length prototypes as the last layer.

    The length of the prototypes is fixed at 1 (``norm_last_layer`` in the authors' code). Only their direction is
    learnt. Source: Caron et al. 2021, arXiv:2104.14294, section 3.1 and appendix C.

    Args:
        embed_dim: the width D of the encoder's output.
        hidden_dim: the width of the hidden layers.
        bottleneck_dim: the size of the normalised vector.
        output_dim: the number K of prototypes.
        norm: True for BatchNorm after the hidden layers (``use_bn_in_head`` in the authors' code).
    """

    def __init__(
        self, embed_dim: int, *, hidden_dim: int, bottleneck_dim: int, output_dim: int, norm: bool = False
    ) -> None:
        super().__init__()
        self.mlp = mlp([embed_dim, hidden_dim, hidden_dim, bottleneck_dim], norm=norm, activation=nn.GELU)
        for layer in self.mlp:
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
        self.prototypes = nn.Parameter(torch.empty(output_dim, bottleneck_dim))
        nn.init.trunc_normal_(self.prototypes, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """Return the cosines (B, K) of embeddings ``x`` (B, D) with the prototypes."""
        return _cosines(self.mlp(x), self.prototypes)


@full_precision
def _cosines(x: Tensor, prototypes: Tensor) -> Tensor:
    return F.normalize(x, dim=1) @ F.normalize(prototypes, dim=1).T
