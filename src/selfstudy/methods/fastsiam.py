"""FastSiam: SimSiam with a steadier target, the mean of the projections of other views (Pototzky et al. 2022).

Paper: FastSiam: Resource-Efficient Self-supervised Learning on a Single GPU, DAGM GCPR 2022,
doi:10.1007/978-3-031-16788-1_4. The loss is SimSiam's (Chen & He 2021, arXiv:2011.10566, eq. 1), here
:func:`fastsiam_loss`. One random view is a noisy target. The mean of several is a better one, so that small batches and
few epochs suffice. With two views it is SimSiam.

Each view is encoded on its own, as in SimSiam's code, so that BatchNorm sees each on its own.

Differences from the paper:

- By default the predictor's learning rate falls with all others; see ``constant_predictor_rate``.
- The authors published no code. Where the paper leaves something open, this follows the example of lightly:
  projections are averaged as they leave the projector, without normalisation.
- Short runs have AdamW, and heads of half the width.
"""

import torch
from pydantic import Field
from torch import Tensor, nn

from selfstudy.methods.base import DataFacts, Method, MethodConfig, Recipe, StepOutput
from selfstudy.methods.reads import Images
from selfstudy.nn.heads import simsiam_heads
from selfstudy.ops.alignment import negative_cosine
from selfstudy.ops.precision import full_precision
from selfstudy.ops.schedules import Progress
from selfstudy.optim.groups import ParameterGroup, set_apart
from selfstudy.views.spec import View
from selfstudy.views.usual import mild


@full_precision
def fastsiam_loss(predictions: Tensor, projections: Tensor) -> Tensor:
    """Minus the cosine of every view's prediction with the mean projection of the other views, averaged over views.

    Args:
        predictions: the predictions (V, B, P) from V views.
        projections: the projections (V, B, P) of the same views; no gradient reaches them.

    Returns:
        () float32 (float64 for float64 input), in [-1, 1].

    Source: Pototzky et al. 2022, doi:10.1007/978-3-031-16788-1_4, section 3.
    """
    targets = projections.detach()
    others = (targets.sum(dim=0) - targets) / (len(targets) - 1)  # (V, B, P)
    return negative_cosine(predictions, others)


class FastSiam(Method):
    """FastSiam around any encoder."""

    family = "positives only"
    reads = Images(any_count=True)

    class Config(MethodConfig):
        """Settings of FastSiam."""

        projection_dim: int = Field(2048, gt=0, description="size of the projections, which are averaged")
        hidden_dim: int = Field(2048, gt=0, description="width of the projector's hidden layers")
        bottleneck_dim: int = Field(512, gt=0, description="width of the predictor's hidden layer")
        constant_predictor_rate: bool = Field(False, description="keep the predictor's learning rate at its peak")

    config: Config

    def __init__(self, encoder: nn.Module, config: Config | None = None) -> None:
        super().__init__(encoder, config)
        sizes = self.config.model_dump(exclude={"constant_predictor_rate"})
        self.projector, self.predictor = simsiam_heads(self.embed_dim, **sizes)

    @staticmethod
    def default_views(size: tuple[int, int], channels: int = 3) -> list[View]:
        """Four views with the augmentation of SimSiam; small images have no blur."""
        return [mild(size, count=4)]

    @staticmethod
    def recipe(facts: DataFacts) -> Recipe:
        """SGD with SimSiam's linear rule for long runs; AdamW and smaller heads for short ones."""
        if not facts.short:
            return Recipe.of("sgd", facts.linear_rate(0.05), warmup=0.0)
        small = facts.if_short(hidden_dim=1024, projection_dim=1024, bottleneck_dim=256)
        return Recipe.of("adamw", facts.square_root_rate(2e-3), small)

    def parameter_groups(self) -> list[ParameterGroup]:
        """The default groups, with the predictor set apart if its learning rate is constant."""
        groups, fixed = super().parameter_groups(), self.config.constant_predictor_rate
        return set_apart(groups, self.predictor.parameters(), constant=True) if fixed else groups

    def forward(self, views: list[Tensor], progress: Progress) -> StepOutput:
        """The loss of predicting, from each view, the mean of the others."""
        embeddings = [self.encoder(view) for view in views]  # V times (B, D)
        projections = [self.projector(embedding) for embedding in embeddings]  # V times (B, P)
        predictions = [self.predictor(projection) for projection in projections]
        loss = fastsiam_loss(torch.stack(predictions), torch.stack(projections))
        return StepOutput(loss, {}, embeddings[0].detach())
