"""MAE: from a quarter of the patches, a narrow decoder rebuilds the pixels of all others (He et al. 2022).

Paper: Masked Autoencoders Are Scalable Vision Learners, arXiv:2111.06377, section 3; the loss is :func:`mae_loss`.
Monitors see the embedding of the visible patches, since no other pass is made.

Differences from the authors' code:

- The encoder keeps its own position embeddings, which timm learns. Those of the decoder are fixed sines and cosines.
- The decoder receives the patch tokens alone, without the class token, which some vision transformers lack.
- Tokens carry their positions, so the decoder has no order to restore. Only hidden patches pass its last layer.
- By default AdamW's second beta is 0.999; theirs is 0.95, as in ``recipes/published``. A short run has a small decoder
  and a higher learning rate.
"""

import torch
from pydantic import Field
from torch import Tensor, nn

from selfstudy.encoders.base import TokenEncoder
from selfstudy.methods.base import DataFacts, Method, MethodConfig, Recipe, StepOutput
from selfstudy.methods.reads import Images
from selfstudy.nn.decoder import PatchDecoder
from selfstudy.ops.masks import patch_draws, random_order, visible_count
from selfstudy.ops.patches import patchify, put, take, unpatchify
from selfstudy.ops.precision import full_precision
from selfstudy.ops.schedules import Progress
from selfstudy.views.spec import Draws, Spec, View

_EPS = 1e-6  # added to the variance of a patch, as in the authors' code
_HEAD_DIM = 32  # the paper's decoder: 512 wide, 16 heads


@full_precision
def mae_loss(predicted: Tensor, patches: Tensor, normalise: bool = True) -> Tensor:
    """Mean squared error of the pixels of hidden patches.

    Args:
        predicted: predicted pixels (B, M, P) of the hidden patches.
        patches: their true pixels (B, M, P).
        normalise: True to bring the true pixels of each patch to zero mean and unit variance first.

    Returns:
        () float32 (float64 for float64 input).

    Source: He et al. 2022, arXiv:2111.06377, section 3, "Reconstruction target".
    """
    mean, deviation = patch_statistics(patches)
    return (predicted - ((patches - mean) / deviation if normalise else patches)).square().mean()


def patch_statistics(patches: Tensor) -> tuple[Tensor, Tensor]:
    """The mean (B, M, 1) and the unbiased standard deviation (B, M, 1) of the pixels of every patch (B, M, P)."""
    return patches.mean(dim=2, keepdim=True), (patches.var(dim=2, keepdim=True) + _EPS).sqrt()


class MaskedAutoencoder(Method):
    """MAE around a vision transformer."""

    family = "masked prediction"
    reads = Images(tokens=True, pooling="avg")

    class Config(MethodConfig):
        """Settings of MAE."""

        mask_ratio: float = Field(0.75, gt=0, lt=1, description="share of the patches that are hidden")
        norm_pixels: bool = Field(True, description="predict pixels of zero mean and unit variance per patch")
        decoder_dim: int = Field(512, gt=0, multiple_of=_HEAD_DIM, description="width of the decoder")
        decoder_depth: int = Field(8, gt=0, description="number of blocks of the decoder")

    config: Config
    encoder: TokenEncoder

    def __init__(self, encoder: nn.Module, config: Config | None = None) -> None:
        super().__init__(encoder, config)
        height, width = self.encoder.patch_size
        self.decoder = PatchDecoder(
            self.embed_dim,
            height * width * self.encoder.channels,
            width=self.config.decoder_dim,
            depth=self.config.decoder_depth,
            heads=self.config.decoder_dim // _HEAD_DIM,
        )

    @staticmethod
    def default_views(size: tuple[int, int], channels: int = 3) -> list[Spec]:
        """One crop with flips and no colour distortion (table 1e), and two numbers that decide what is hidden."""
        return [View(size, scale=(0.2, 1.0)), Draws(2)]

    @staticmethod
    def recipe(facts: DataFacts) -> Recipe:
        """The paper's pre-training setting (table 8); a small decoder and a higher rate for short runs."""
        rate = facts.square_root_rate(2e-3) if facts.short else facts.linear_rate(1.5e-4)
        return Recipe.of("adamw", rate, facts.if_short(decoder_dim=64, decoder_depth=1), weight_decay=0.05)

    def chance_loss(self, batch_size: int) -> tuple[float, str] | None:
        """The loss of predicting every patch's own mean."""
        pixels = self.decoder.head.out_features
        return (1 - 1 / pixels, "1 - 1 / P, a patch's own variance") if self.config.norm_pixels else None

    def forward(self, views: list[Tensor], progress: Progress) -> StepOutput:
        """The error of the hidden patches' pixels, decoded from the visible patches."""
        images, draws = views
        embedding, predicted, hidden = self._predict(images, draws)
        patches = take(patchify(images, self.encoder.patch_size), hidden)  # (B, M, P)
        return StepOutput(mae_loss(predicted, patches, self.config.norm_pixels), {}, embedding.detach())

    def _predict(self, images: Tensor, draws: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The embedding (B, D), the predictions (B, M, P) for hidden patches, and the numbers (B, M) of those."""
        patches = self.encoder.num_tokens
        order = random_order(patch_draws(draws, patches))  # (B, N)
        visible, hidden = order.tensor_split([visible_count(patches, self.config.mask_ratio)], dim=1)
        embedding, tokens = self.encoder.embed_and_tokens(images, keep=visible)  # (B, D), (B, K, D)
        return embedding, self.decoder(tokens, visible, hidden, self.encoder.grid), hidden

    def pictures(self, views: list[Tensor]) -> dict[str, Tensor]:
        """Images (B, C, H, W), normalised, with hidden patches blank (``masked``) and rebuilt (``reconstruction``).

        As in the paper's figures, visible patches are unchanged, and a prediction gets the mean and the standard
        deviation of the true patch.
        """
        images, draws = views
        _, predicted, hidden = self._predict(images, draws)
        grid, size = self.encoder.grid, self.encoder.patch_size
        patches = patchify(images, size)
        mean, deviation = patch_statistics(take(patches, hidden))
        pixels = predicted * deviation + mean if self.config.norm_pixels else predicted
        return {
            "masked": unpatchify(put(patches, hidden, torch.zeros_like(predicted)), grid, size),
            "reconstruction": unpatchify(put(patches, hidden, pixels), grid, size),
        }
