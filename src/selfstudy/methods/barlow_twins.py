"""Barlow Twins: two views agree in every dimension, and no two dimensions hold the same (Zbontar et al. 2021).

Paper: Self-Supervised Learning via Redundancy Reduction, arXiv:2103.03230. The loss is eq. 1 of the cross-correlation
matrix of eq. 2, here :func:`barlow_twins_loss`.

Differences from the authors' code:

- The loss is divided by the number of dimensions, so that its size and the best learning rate do not depend on the
  projector's width. The authors' README leaves the scale open; others multiply by 0.1 or 1/48.
- The projector is 2,048 wide instead of 8,192. On small encoders the paper's would hold most of the parameters.
- The default optimizer is AdamW. The paper's LARS is made for batches of thousands; ``recipes/published`` has it.
"""

from pydantic import Field
from torch import Tensor, nn

from selfstudy.methods.base import DataFacts, Method, MethodConfig, Recipe, Setting, StepOutput
from selfstudy.nn.heads import mlp
from selfstudy.ops.distributed import gather
from selfstudy.ops.precision import full_precision
from selfstudy.ops.schedules import Progress
from selfstudy.views.usual import asymmetric_pair

_EPS = 1e-5  # that of BatchNorm, with which the authors normalise


@full_precision
def barlow_twins_loss(first: Tensor, second: Tensor, redundancy_weight: float) -> Tensor:
    """``(sum_i (1 - C_ii)^2 + lambda sum_{i != j} C_ij^2) / D`` of the cross-correlation C of two batches.

    Args:
        first: projections (B, D) of one view.
        second: projections (B, D) of the other view.
        redundancy_weight: lambda.

    Returns:
        () float32 (float64 for float64 input).

    Source: Zbontar et al. 2021, arXiv:2103.03230, eq. 1 and 2, divided by D.
    """
    a, b = _standardised(first), _standardised(second)
    correlation = a.T @ b / len(a)  # (D, D)
    diagonal = correlation.diagonal()
    off_diagonal = correlation.square().sum() - diagonal.square().sum()
    return ((1 - diagonal).square().sum() + redundancy_weight * off_diagonal) / len(correlation)


def _standardised(x: Tensor) -> Tensor:
    """``x`` (B, D) with columns of zero mean and unit variance."""
    centred = x - x.mean(dim=0)
    return centred / (centred.square().mean(dim=0) + _EPS).sqrt()


class BarlowTwins(Method):
    """Barlow Twins around any encoder."""

    family = "redundancy reduction"
    default_views = staticmethod(asymmetric_pair)  # those of BYOL

    class Config(MethodConfig):
        """Settings of Barlow Twins."""

        redundancy_weight: float = Field(0.0051, gt=0, description="lambda; 0.0051 in the paper")
        hidden_dim: int = Field(2048, gt=0, description="width of the projector's hidden layers")
        projection_dim: int = Field(2048, gt=1, description="number of dimensions to decorrelate")

    config: Config

    def __init__(self, encoder: nn.Module, config: Config | None = None) -> None:
        super().__init__(encoder, config)
        hidden = self.config.hidden_dim
        self.projector = mlp([self.embed_dim, hidden, hidden, self.config.projection_dim])

    @staticmethod
    def recipe(facts: DataFacts) -> Recipe:
        """AdamW with a square-root rule; a narrower projector for short runs."""
        width = Setting(1024 if facts.short else 2048, f"for {facts.total_steps:,} steps")
        return Recipe.of("adamw", facts.square_root_rate(2e-3), {"projection_dim": width, "hidden_dim": width})

    def forward(self, views: list[Tensor], progress: Progress) -> StepOutput:
        """The loss of the global batch; each view is encoded on its own, so that BatchNorm sees each on its own."""
        first, second = views
        embedding = self.encoder(first)  # (B, D)
        z_first, z_second = self.projector(embedding), self.projector(self.encoder(second))  # (B, P)
        loss = barlow_twins_loss(gather(z_first), gather(z_second), self.config.redundancy_weight)
        return StepOutput(loss, {}, embedding.detach())
