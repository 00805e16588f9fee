"""I-JEPA: from one part of an image, predict the teacher's tokens of four other parts (Assran et al. 2023).

Paper: Self-Supervised Learning from Images with a Joint-Embedding Predictive Architecture, arXiv:2301.08243, section 3.
The loss is :func:`ijepa_loss`; the blocks are :func:`selfstudy.ops.block_masks.context_and_targets`.

Differences from the authors' code:

- As in theirs, a batch has one size of blocks, drawn from the step; the places are drawn from each image's own numbers.
  Area and aspect ratio have a number each (theirs share one), and a block may reach the last row and column (theirs
  never does).
- Of the context outside all targets every image keeps ``context_share`` of its patches, chosen at random. Its blocks
  are placed again until there are enough. Theirs cuts every image of a batch to the smallest one's number, always from
  the bottom, so that an image's context depends on the others.
- The encoder is any vision transformer, with learnt positions and with or without a class token. The embedding is the
  mean of the patches. Predictor and momentum follow the length of the run.
- By default weight decay is constant; theirs rises from 0.04 to 0.4, as in ``recipes/published``.
"""

import math

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from selfstudy.config import Positives, Shares
from selfstudy.encoders.base import TokenEncoder
from selfstudy.errors import UsageError
from selfstudy.methods.base import DataFacts, Method, MethodConfig, Recipe, StepOutput
from selfstudy.methods.reads import Images
from selfstudy.nn.decoder import PatchDecoder
from selfstudy.nn.teacher import Teacher
from selfstudy.ops.block_masks import block_size, context_and_targets
from selfstudy.ops.patches import take
from selfstudy.ops.precision import full_precision
from selfstudy.ops.random import fold, uniform
from selfstudy.ops.schedules import Linear, Progress
from selfstudy.views.spec import Draws, Spec, View


@full_precision
def ijepa_loss(predicted: Tensor, targets: Tensor) -> Tensor:
    """Smooth L1 of predictions and the teacher's tokens, which are normalised over their features; averaged over all.

    Args:
        predicted: predicted tokens (..., D).
        targets: the teacher's tokens (..., D), not yet normalised.

    Returns:
        () float32 (float64 for float64 input).

    Source: Assran et al. 2023, arXiv:2301.08243, section 3. The normalisation and the smooth L1 are those of the
    authors' code; the paper has the squared distance.
    """
    return F.smooth_l1_loss(predicted, F.layer_norm(targets, targets.shape[-1:]))


class IJEPA(Method):
    """I-JEPA around a vision transformer."""

    family = "masked prediction"
    reads = Images(tokens=True, pooling="avg")

    class Config(MethodConfig):
        """Settings of I-JEPA; shares are shares of all patches."""

        targets: int = Field(4, gt=0, description="number of blocks to predict, per image")
        target_share: Shares = Field((0.15, 0.2), description="range of a target block's area")
        target_aspect: Positives = Field((0.75, 1.5), description="range of a target block's height by width")
        context_block: Shares = Field((0.85, 1.0), description="range of the area of the context, a square")
        context_share: float = Field(0.25, gt=0, lt=1, description="share that the student sees")
        predictor_dim: int = Field(384, gt=0, multiple_of=4, description="width; a multiple of the heads")
        predictor_depth: int = Field(12, gt=0, description="number of blocks; 6 are enough for ViT-B")
        predictor_heads: int = Field(12, gt=0, description="number of attention heads")
        momentum: float = Field(0.996, ge=0, lt=1, description="the teacher's momentum at the start; 1 at the end")

        @model_validator(mode="after")
        def _heads_share_the_width(self) -> "IJEPA.Config":
            if self.predictor_dim % self.predictor_heads:
                raise UsageError(
                    f"method.predictor_dim={self.predictor_dim} does not divide by "
                    f"method.predictor_heads={self.predictor_heads}\n"
                    f"set a multiple of {math.lcm(4, self.predictor_heads)}, or other heads"
                )
            return self

    config: Config
    encoder: TokenEncoder

    def __init__(self, encoder: nn.Module, config: Config | None = None) -> None:
        super().__init__(encoder, config)
        c, d = self.config, self.embed_dim
        self.predictor = PatchDecoder(d, d, width=c.predictor_dim, depth=c.predictor_depth, heads=c.predictor_heads)
        self.teacher = Teacher(encoder=self.encoder, head=nn.Identity(), train_mode=False)

    @staticmethod
    def default_views(size: tuple[int, int], channels: int = 3) -> list[Spec]:
        """One crop without flip or colours, and the random numbers of its blocks' places."""
        return [View(size, scale=(0.3, 1.0), flip=0.0), Draws(2)]

    @staticmethod
    def recipe(facts: DataFacts) -> Recipe:
        """Momentum from the number of steps; a small predictor for short runs."""
        rate = facts.square_root_rate(1e-3) if facts.short else facts.linear_rate(1e-3, at=2048)
        predictor = facts.if_short(predictor_dim=64, predictor_depth=2, predictor_heads=2)
        method = {"momentum": facts.momentum(8, at_most=0.996), **predictor}
        return Recipe.of("adamw", rate, method, weight_decay=0.04, warmup=0.1)

    def forward(self, views: list[Tensor], progress: Progress) -> StepOutput:
        """The error of predicting the teacher's tokens of each target block, on its own, from the context."""
        images, draws = views
        context, blocks = self._blocks(draws, progress)  # (B, K), (B, T, P)
        with torch.no_grad():
            embedding, whole = self.teacher.encoder.embed_and_tokens(images)  # (B, D), (B, N, D)
        count, grid = blocks.shape[1], self.encoder.grid
        tokens = self.encoder.tokens(images, keep=context).repeat_interleave(count, dim=0)  # (B T, K, D)
        predicted = self.predictor(tokens, context.repeat_interleave(count, dim=0), blocks.flatten(0, 1), grid)
        targets = take(whole, blocks.flatten(1)).view_as(predicted)  # (B T, P, D)
        spread = targets.flatten(0, 1).std(dim=0).mean()  # falls to 0 when all patches get one target
        return StepOutput(ijepa_loss(predicted, targets), {"target_deviation": spread}, embedding)

    def _blocks(self, draws: Tensor, progress: Progress) -> tuple[Tensor, Tensor]:
        """The numbers of context patches (B, K) and of target patches (B, T, P); sizes are drawn from the step."""
        c, grid = self.config, self.encoder.grid
        area, aspect, context = uniform(fold(progress.step)[None], 3)[0].tolist()
        return context_and_targets(
            draws,
            grid,
            context=block_size((context, 0.0), grid, share=c.context_block, aspect=(1.0, 1.0)),
            target=block_size((area, aspect), grid, share=c.target_share, aspect=c.target_aspect),
            count=c.targets,
            keep=max(1, int(c.context_share * grid[0] * grid[1])),
        )

    def after_step(self, progress: Progress) -> None:
        """Move the teacher, with a momentum that rises to 1 in a straight line."""
        self.teacher.follow(Linear(self.config.momentum, 1.0)(progress))

    def representation(self) -> tuple[str, nn.Module]:
        """The teacher, which the authors evaluate."""
        return "teacher", self.teacher.encoder
