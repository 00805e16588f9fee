"""Projection heads: small networks between the encoder and the loss, thrown away after training."""

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
    """Linear layers of these sizes with BatchNorm and an activation between them.

    Args:
        sizes: input, hidden and output widths, e.g. ``[512, 2048, 128]``.
        norm: BatchNorm after every hidden layer (which then has no bias of its own).
        activation: after every hidden layer.
        output_bias: of the last layer; of no use where the mean over the batch is taken away again.
        output_norm: BatchNorm without scale and shift after the last layer (which then has no bias either).
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
    """SimSiam's projector, three layers with BatchNorm after each, and its predictor, which narrows in the middle.

    Source: Chen & He 2021, arXiv:2011.10566, section 3 ("Baseline settings").

    Args:
        embed_dim: of the encoder.
        hidden_dim: width of the projector's hidden layers.
        projection_dim: of what is predicted.
        bottleneck_dim: width of the predictor's hidden layer.
    """
    projector = mlp([embed_dim, hidden_dim, hidden_dim, projection_dim], output_norm=True)
    return projector, mlp([projection_dim, bottleneck_dim, projection_dim])


class PrototypeHead(nn.Module):
    """DINO's head: three layers, an l2-normalised bottleneck, and K unit-length prototypes as the last layer.

    The prototypes' length is fixed at 1 (``norm_last_layer`` in the authors' code): only their direction is learnt.
    Source: Caron et al. 2021, arXiv:2104.14294, section 3.1 and appendix C.

    Args:
        embed_dim: of the encoder.
        hidden_dim: width of the hidden layers.
        bottleneck_dim: size of the normalised vector.
        output_dim: K.
        norm: BatchNorm after the hidden layers (``use_bn_in_head`` in the authors' code).
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
        """Cosines (B, K) of (B, D) embeddings with the prototypes."""
        return _cosines(self.mlp(x), self.prototypes)


@full_precision
def _cosines(x: Tensor, prototypes: Tensor) -> Tensor:
    return F.normalize(x, dim=1) @ F.normalize(prototypes, dim=1).T
