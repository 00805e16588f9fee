"""data2vec: from a masked image, predict the teacher's features of the whole image (Baevski et al. 2022).

Paper: data2vec, A General Framework for Self-supervised Learning in Speech, Vision and Language, arXiv:2202.03555;
targets section 3.3, here :func:`block_targets`; the loss section 3.4, here :func:`data2vec_loss`; vision section 4.1.

Differences from the authors' code:

- The encoder is any vision transformer, with its own position embeddings. It lacks their shared relative position bias,
  attention dropout and layer scale; stochastic depth is ``encoder.drop_path``.
- Where the rectangles hide too few patches, single patches are added, so that every image has the same number. The
  authors' code leaves fewer.
- Momentum follows the length of the run. With the paper's 0.9998 the teacher of 1,000 steps hardly moves.
- Monitors see the teacher's embedding of the whole image, which costs no other pass. Users take away the student, as
  the authors fine-tune it.
"""

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from selfstudy.encoders.base import TokenEncoder
from selfstudy.methods.base import DataFacts, Method, MethodConfig, Recipe, StepOutput
from selfstudy.methods.reads import Images
from selfstudy.nn.teacher import Teacher
from selfstudy.ops.block_masks import block_masks
from selfstudy.ops.masks import patch_draws, random_order, visible_count
from selfstudy.ops.precision import full_precision
from selfstudy.ops.schedules import Progress
from selfstudy.views.spec import Draws, Spec, View, is_small

_RECTANGLES = 32  # the number tried on every image


@full_precision
def block_targets(blocks: Tensor) -> Tensor:
    """The mean of several blocks' outputs, each normalised over its D features, and then normalised again.

    Args:
        blocks: the patch tokens (K, B, N, D) after each of the teacher's last K blocks.

    Returns:
        (B, N, D) float32 (float64 for float64 input), of zero mean and unit variance per patch.

    Source: Baevski et al. 2022, arXiv:2202.03555, section 3.3. The normalisation of the mean is in the authors'
    commands for vision alone (``--post_target_layer_norm``).
    """
    features = blocks.shape[3:]
    return F.layer_norm(F.layer_norm(blocks, features).mean(dim=0), features)


@full_precision
def data2vec_loss(predicted: Tensor, targets: Tensor, mask: Tensor, beta: float) -> Tensor:
    """Smooth L1 of predictions and targets, averaged over hidden patches.

    Args:
        predicted: predictions (B, N, D) for all patches.
        targets: targets (B, N, D) of all patches.
        mask: (B, N) bool, True where a patch is hidden.
        beta: the error below which the loss is quadratic, above 0.

    Returns:
        () float32 (float64 for float64 input).

    Source: Baevski et al. 2022, arXiv:2202.03555, section 3.4.
    """
    error = F.smooth_l1_loss(predicted, targets, beta=beta, reduction="none").mean(dim=2)  # (B, N)
    return (error * mask).sum() / mask.sum()


class Data2Vec(Method):
    """data2vec around a vision transformer."""

    family = "masked prediction"
    reads = Images(tokens=True, pooling="avg")

    class Config(MethodConfig):
        """Settings of data2vec."""

        mask_ratio: float = Field(0.6, gt=0, lt=1, description="share of the patches that are hidden")
        target_blocks: int = Field(6, gt=0, description="number of the teacher's last blocks that are averaged")
        beta: float = Field(2.0, gt=0, description="error from which the smooth L1 loss is linear")
        momentum: float = Field(0.9998, ge=0, lt=1, description="fraction of the teacher kept per step")

    config: Config
    encoder: TokenEncoder

    def __init__(self, encoder: nn.Module, config: Config | None = None) -> None:
        super().__init__(encoder, config)
        self.head = nn.Linear(self.embed_dim, self.embed_dim)
        self.mask_token = nn.Parameter(torch.empty(self.embed_dim))
        nn.init.trunc_normal_(self.mask_token, std=0.02)
        self.teacher = Teacher(encoder=self.encoder, head=nn.Identity(), train_mode=False)

    @staticmethod
    def default_views(size: tuple[int, int], channels: int = 3) -> list[Spec]:
        """BEiT's crop, flip and colour jitter (section 4.1), and two random numbers that decide what is hidden."""
        scale = (0.2 if is_small(size) else 0.08, 1.0)
        return [View(size, scale=scale, jitter=(0.4, 0.4, 0.4, 0.0), jitter_probability=1.0), Draws(2)]

    @staticmethod
    def recipe(facts: DataFacts) -> Recipe:
        """Momentum from the number of steps; the authors' rate for ViT-B, a higher one for short runs."""
        rate = facts.square_root_rate(1e-3) if facts.short else facts.linear_rate(2e-3, at=2048)
        method = {"momentum": facts.momentum(12, at_most=0.9998)}
        return Recipe.of("adamw", rate, method, weight_decay=0.05, clip=3.0)

    def forward(self, views: list[Tensor], progress: Progress) -> StepOutput:
        """The error of the student, which sees the masked image, against the teacher, which sees the whole one."""
        images, draws = views
        mask = self._mask(draws)
        embedding, targets = self._teach(images)
        _, tokens = self.encoder.embed_and_tokens(images, mask=mask, mask_token=self.mask_token)  # (B, N, D)
        loss = data2vec_loss(self.head(tokens), targets, mask, self.config.beta)
        spread = targets.flatten(0, 1).std(dim=0).mean()  # falls to 0 when all patches get one target
        return StepOutput(loss, {"target_deviation": spread}, embedding)

    def _mask(self, draws: Tensor) -> Tensor:
        """BEiT's rectangles (B, N), with single patches up to the same number in every image (section 3.2)."""
        patches = self.encoder.num_tokens
        count = patches - visible_count(patches, self.config.mask_ratio)
        numbers = patch_draws(draws, patches + 4 * _RECTANGLES)
        blocks = block_masks(numbers[:, patches:], self.encoder.grid, torch.full_like(numbers[:, 0], count))
        order = random_order(numbers[:, :patches] + ~blocks)  # patches in rectangles come before all others
        return torch.zeros_like(blocks).scatter(1, order[:, :count], True)

    @torch.no_grad()
    def _teach(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The teacher's embedding (B, D) and its targets (B, N, D)."""
        embedding, blocks = self.teacher.encoder.embed_and_blocks(images, self.config.target_blocks)
        return embedding, block_targets(torch.stack(blocks))

    def after_step(self, progress: Progress) -> None:
        """Move the teacher (section 3.3)."""
        self.teacher.follow(self.config.momentum)
