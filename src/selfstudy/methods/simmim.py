"""SimMIM: hidden squares become mask tokens, and one linear layer predicts their pixels (Xie et al. 2022).

Paper: SimMIM: A Simple Framework for Masked Image Modeling, arXiv:2111.09886, section 3; the loss is
:func:`simmim_loss`. Monitors see the embedding of the masked image, since no other pass is made.

Differences from the authors' code:

- The encoder is any vision transformer, with its own positions and last normalisation. Theirs for ViT has a relative
  position bias shared by its blocks, layer scale, and stochastic depth (``encoder.drop_path=0.1``). Their Swin has no
  tokens here.
- Squares are ``mask_side`` patches wide; theirs are 32 pixels wide, which is the same for patches of 16 pixels. Where
  such squares do not tile the grid, smaller ones that do take their place.
- The learning rate falls along a cosine. Theirs for ViT drops to a tenth after seven eighths of training:
  ``optimizer.schedule={name: steps, at: [0.875]}``.
"""

import math

import torch
from pydantic import Field
from torch import Tensor, nn

from selfstudy.encoders.base import TokenEncoder
from selfstudy.methods.base import DataFacts, Method, MethodConfig, Recipe, StepOutput
from selfstudy.methods.reads import Images
from selfstudy.ops.masks import square_mask
from selfstudy.ops.patches import patchify, unpatchify
from selfstudy.ops.precision import full_precision
from selfstudy.ops.schedules import Progress
from selfstudy.views.spec import Draws, Spec, View


@full_precision
def simmim_loss(predicted: Tensor, patches: Tensor, mask: Tensor) -> Tensor:
    """Mean absolute error of the hidden pixels.

    Args:
        predicted: predicted pixels (B, N, P) of all patches.
        patches: true pixels (B, N, P).
        mask: (B, N) bool, True where a patch is hidden.

    Returns:
        () float32 (float64 for float64 input).

    Source: Xie et al. 2022, arXiv:2111.09886, section 3.4.
    """
    error = (predicted - patches).abs().mean(dim=2)  # (B, N)
    return (error * mask).sum() / mask.sum()


class SimMIM(Method):
    """SimMIM around a vision transformer."""

    family = "masked prediction"
    reads = Images(tokens=True, pooling="avg")

    class Config(MethodConfig):
        """Settings of SimMIM."""

        mask_ratio: float = Field(0.6, gt=0, lt=1, description="share of the squares that are hidden")
        mask_side: int = Field(2, gt=0, description="side of a hidden square, in patches")

    config: Config
    encoder: TokenEncoder

    def __init__(self, encoder: nn.Module, config: Config | None = None) -> None:
        super().__init__(encoder, config)
        self.head = nn.Linear(self.embed_dim, math.prod(self.encoder.patch_size) * self.encoder.channels)
        self.mask_token = nn.Parameter(torch.empty(self.embed_dim))
        nn.init.trunc_normal_(self.mask_token, std=0.02)

    @staticmethod
    def default_views(size: tuple[int, int], channels: int = 3) -> list[Spec]:
        """One large crop with flips (section 4.1.1), and two random numbers that decide what is hidden."""
        return [View(size, scale=(0.67, 1.0)), Draws(2)]

    @staticmethod
    def recipe(facts: DataFacts) -> Recipe:
        """The authors' settings for ViT, with a higher learning rate for short runs."""
        rate = facts.square_root_rate(1e-3) if facts.short else facts.linear_rate(1e-4, at=512)
        return Recipe.of("adamw", rate, weight_decay=0.05, clip=5.0)

    def forward(self, views: list[Tensor], progress: Progress) -> StepOutput:
        """The error of the hidden pixels, predicted from all patches with mask tokens in place of the hidden ones."""
        images, draws = views
        embedding, predicted, mask = self._predict(images, draws)
        loss = simmim_loss(predicted, patchify(images, self.encoder.patch_size), mask)
        return StepOutput(loss, {}, embedding.detach())

    def _predict(self, images: Tensor, draws: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The embedding (B, D) of the masked image, predictions (B, N, P) for all patches, and the mask (B, N)."""
        mask = square_mask(draws, self.encoder.grid, side=self.config.mask_side, share=self.config.mask_ratio)
        embedding, tokens = self.encoder.embed_and_tokens(images, mask=mask, mask_token=self.mask_token)
        return embedding, self.head(tokens), mask

    def pictures(self, views: list[Tensor]) -> dict[str, Tensor]:
        """Images (B, C, H, W) with hidden patches blank (``masked``) and predicted (``reconstruction``), normalised."""
        images, draws = views
        _, predicted, mask = self._predict(images, draws)
        patches = patchify(images, self.encoder.patch_size)
        shown = {"masked": torch.zeros_like(patches), "reconstruction": predicted.to(patches.dtype)}
        return {
            name: unpatchify(torch.where(mask[:, :, None], pixels, patches), self.encoder.grid, self.encoder.patch_size)
            for name, pixels in shown.items()
        }
