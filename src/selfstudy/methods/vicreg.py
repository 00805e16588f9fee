"""VICReg: views agree, every dimension keeps a spread, no two dimensions hold the same (Bardes et al. 2022).

Paper: Variance-Invariance-Covariance Regularization, arXiv:2105.04906; loss eq. 1 to 6, here :func:`vicreg_loss`.
Variance and covariance are those of each view on its own, over the global batch.

Where the printed equations and the authors' code differ, this follows the code, because the weights 25, 25 and 1 belong
to it: the squared distance is averaged over dimensions as well as images, and the variance term over the two views.

Differences from the authors' code:

- The projector's width follows the data: 8,192 is for a million images and an encoder of 2,048 dimensions.
- The default optimizer is AdamW. The paper's LARS is made for batches of thousands; ``recipes/published`` has it.
"""

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from selfstudy.methods.base import DataFacts, Method, MethodConfig, Recipe, Setting, StepOutput
from selfstudy.nn.heads import mlp
from selfstudy.ops.distributed import gather
from selfstudy.ops.precision import full_precision
from selfstudy.ops.schedules import Progress
from selfstudy.views.usual import asymmetric_pair

_EPS = 1e-4  # the paper's, added to the variance under the root


@full_precision
def vicreg_loss(
    first: Tensor, second: Tensor, *, invariance: float = 25.0, variance: float = 25.0, covariance: float = 1.0
) -> Tensor:
    """Weighted sum of the distance of two views, their lack of variance and their covariance.

    Args:
        first: projections (B, D) of one view, B at least 2.
        second: projections (B, D) of the other view.
        invariance: the weight lambda of the mean squared difference.
        variance: the weight mu of the distance by which standard deviations fall short of 1.
        covariance: the weight nu of the squared covariances of different dimensions.

    Returns:
        () float32 (float64 for float64 input).

    Source: Bardes et al. 2022, arXiv:2105.04906, eq. 1 to 6 and algorithm 1.
    """
    return (
        invariance * F.mse_loss(first, second)
        + variance * (_lacking_std(first) + _lacking_std(second)) / 2
        + covariance * (_squared_covariances(first) + _squared_covariances(second))
    )


def _lacking_std(x: Tensor) -> Tensor:
    """The mean distance by which the standard deviations of the columns of (B, D) fall short of 1 (eq. 1 and 2)."""
    return F.relu(1 - (x.var(dim=0) + _EPS).sqrt()).mean()


def _squared_covariances(x: Tensor) -> Tensor:
    """The sum of the squared covariances of different columns of (B, D), divided by D (eq. 3 and 4)."""
    batch, dims = x.shape
    centred = x - x.mean(dim=0)
    products = centred @ centred.T if batch < dims else centred.T @ centred  # both have the same sum of squares
    all_pairs, own = products.square().sum(), centred.square().sum(dim=0).square().sum()
    return (all_pairs - own) / (batch - 1) ** 2 / dims


class VICReg(Method):
    """VICReg around any encoder."""

    family = "redundancy reduction"
    default_views = staticmethod(asymmetric_pair)  # those of BYOL

    class Config(MethodConfig):
        """Settings of VICReg."""

        invariance_weight: float = Field(25.0, gt=0, description="lambda")
        variance_weight: float = Field(25.0, gt=0, description="mu; it collapses if smaller than lambda")
        covariance_weight: float = Field(1.0, gt=0, description="nu")
        width: int = Field(8192, gt=1, description="width of all three layers of the projector")

    config: Config

    def __init__(self, encoder: nn.Module, config: Config | None = None) -> None:
        super().__init__(encoder, config)
        self.projector = mlp([self.embed_dim, *[self.config.width] * 3], output_bias=False)

    @staticmethod
    def recipe(facts: DataFacts) -> Recipe:
        """AdamW with a square-root rule; the projector's width from the number of images and steps."""
        width = 256 if facts.short else 2048 if facts.inputs < 500_000 else 8192
        why = f"for {facts.inputs:,} images and {facts.total_steps:,} steps"
        return Recipe.of("adamw", facts.square_root_rate(2e-3), {"width": Setting(width, why)})

    def forward(self, views: list[Tensor], progress: Progress) -> StepOutput:
        """The loss of the global batch; each view is encoded on its own, so that BatchNorm sees each on its own."""
        embeddings = [self.encoder(view) for view in views]  # (B, D) each
        first, second = (gather(self.projector(embedding)) for embedding in embeddings)  # (W B, P)
        c = self.config
        weights = {"invariance": c.invariance_weight, "variance": c.variance_weight, "covariance": c.covariance_weight}
        loss = vicreg_loss(first, second, **weights)
        return StepOutput(loss, {}, embeddings[0].detach())
