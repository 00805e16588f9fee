"""SimSiam: each view predicts the other, and no gradient flows into what is predicted (Chen & He 2021).

Paper: Exploring Simple Siamese Representation Learning, arXiv:2011.10566. The loss is eq. 1 and 2 with the
stop-gradient of eq. 3 and 4. There is no teacher and no negative. Without the stop-gradient all images end in one
output (section 4.1).

As in the authors' code each view is encoded on its own, so that BatchNorm sees each on its own. BatchNorm without scale
and shift ends the projector.

Differences from the authors' code:

- By default the predictor's learning rate falls with all others. Theirs is constant, which gains less than a point
  (table 1); ``constant_predictor_rate=True``, as in ``recipes/published``, does the same.
- The projector's hidden layers are 2,048 wide for every encoder. Theirs are as wide as the embedding, which is the
  same for the paper's ResNet-50.
- Short runs have AdamW, and heads of half the width.
"""

from pydantic import Field
from torch import Tensor, nn

from selfstudy.methods.base import DataFacts, Method, MethodConfig, Recipe, StepOutput
from selfstudy.methods.reads import Images
from selfstudy.nn.heads import simsiam_heads
from selfstudy.ops.alignment import negative_cosine
from selfstudy.ops.schedules import Progress
from selfstudy.optim.groups import ParameterGroup, set_apart
from selfstudy.views.usual import mild_pair


class SimSiam(Method):
    """SimSiam around any encoder."""

    family = "positives only"
    reads = Images(largest_batch=128)  # a short run gains more from twice the steps
    default_views = staticmethod(mild_pair)  # MoCo v2's, as in the paper

    class Config(MethodConfig):
        """Settings of SimSiam."""

        hidden_dim: int = Field(2048, gt=0, description="width of the projector")
        projection_dim: int = Field(2048, gt=0, description="size of the projections, which are predicted")
        bottleneck_dim: int = Field(512, gt=0, description="width of the predictor; a quarter works best")
        constant_predictor_rate: bool = Field(False, description="keep the predictor's learning rate at its peak")

    config: Config

    def __init__(self, encoder: nn.Module, config: Config | None = None) -> None:
        super().__init__(encoder, config)
        sizes = self.config.model_dump(exclude={"constant_predictor_rate"})
        self.projector, self.predictor = simsiam_heads(self.embed_dim, **sizes)

    @staticmethod
    def recipe(facts: DataFacts) -> Recipe:
        """The paper's SGD for long runs; AdamW and smaller heads for short ones."""
        if not facts.short:
            return Recipe.of("sgd", facts.linear_rate(0.05), warmup=0.0)
        small = facts.if_short(hidden_dim=1024, projection_dim=1024, bottleneck_dim=256)
        return Recipe.of("adamw", facts.square_root_rate(2e-3), small)

    def parameter_groups(self) -> list[ParameterGroup]:
        """The default groups, with the predictor set apart if its learning rate is constant."""
        groups, fixed = super().parameter_groups(), self.config.constant_predictor_rate
        return set_apart(groups, self.predictor.parameters(), constant=True) if fixed else groups

    def forward(self, views: list[Tensor], progress: Progress) -> StepOutput:
        """The negative cosine of each view's projection and its prediction from the other view."""
        embedding = self.encoder(views[0])  # (B, D)
        z1, z2 = self.projector(embedding), self.projector(self.encoder(views[1]))  # (B, P)
        one, other = (negative_cosine(self.predictor(a), b.detach()) for a, b in ((z1, z2), (z2, z1)))
        return StepOutput((one + other) / 2, {}, embedding.detach())
