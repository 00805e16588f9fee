"""W-MSE: views agree after whitening, which spreads every batch so that it cannot collapse (Ermolov et al. 2021).

Paper: Whitening for Self-Supervised Representation Learning, arXiv:2007.06346, section 3: the normalised distance of
all pairs of views (:func:`w_mse_loss`) after whitening by Cholesky decomposition (:func:`whiten`), in random slices.

As in the authors' code the views are encoded one after the other and projected together.

Differences from the authors' code:

- The images' own random numbers decide which images share a slice, so that any number of processes forms the same ones.
- A batch that the slice size does not divide is cut into slices of nearly equal size; theirs refuses it.
- ``shrinkage`` moves the covariance toward a multiple of the identity. A slice with fewer images than dimensions, or
  one that is nearly flat, then still has a decomposition, and float32 gives its gradient to a thousandth. Their code
  has a similar option, which is off.
- The projector's last layer has no bias, because whitening removes it.
- The default optimizer is AdamW with a cosine; theirs is Adam with two drops of the learning rate.
"""

from itertools import combinations

import torch
from pydantic import Field
from torch import Tensor, nn

from selfstudy.methods.base import DataFacts, Method, MethodConfig, Recipe, Setting, StepOutput
from selfstudy.methods.reads import Images
from selfstudy.nn.heads import mlp
from selfstudy.ops.alignment import normalized_mse
from selfstudy.ops.distributed import gather
from selfstudy.ops.precision import full_precision
from selfstudy.ops.schedules import Progress
from selfstudy.views.spec import Draws, Spec, View, is_small

_EPS = 1e-8  # added to the variance, which is 0 if all images have one projection
_MOST_SLICINGS = 4  # the largest number that the authors use


@full_precision
def w_mse_loss(projections: Tensor, order: Tensor, *, slice_size: int, shrinkage: float = 0.0) -> Tensor:
    """Squared distance of whitened and normalised views of an image, averaged over images and pairs of views.

    Args:
        projections: the projections (V, B, D) of V views.
        order: the images (B,) int64 in a random order, which is cut into slices; each slice is whitened on its own.
        slice_size: the smallest number of images in a slice, at least twice D; a smaller batch is one slice.
        shrinkage: the share of the covariance, in [0, 1], that is replaced by the identity times its mean variance.

    Returns:
        () float32 (float64 for float64 input), in [0, 4]; unrelated views give 2.

    Source: Ermolov et al. 2021, arXiv:2007.06346, section 3.
    """
    slices = order.tensor_split(max(1, len(order) // slice_size))
    whitened = torch.cat([whiten(projections[:, part], shrinkage) for part in slices], dim=1)  # (V, B, D)
    return torch.stack([normalized_mse(a, b) for a, b in combinations(whitened.unbind(), 2)]).mean()


@full_precision
def whiten(x: Tensor, shrinkage: float) -> Tensor:
    """The vectors (..., N, D) after whitening: the N rows have zero mean and the identity as covariance.

    Args:
        x: the vectors (..., N, D) float.
        shrinkage: the share of the covariance, in [0, 1], that is replaced by the identity times its mean variance.
    """
    centred = x - x.mean(dim=-2, keepdim=True)
    covariance = centred.mT @ centred / max(x.shape[-2] - 1, 1)  # (..., D, D)
    variance = covariance.diagonal(dim1=-2, dim2=-1).mean(dim=-1)[..., None, None] + _EPS
    identity = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)
    root = torch.linalg.cholesky_ex((1 - shrinkage) * covariance + shrinkage * variance * identity).L
    whitened: Tensor = torch.linalg.solve_triangular(root, centred.mT, upper=False)
    return whitened.mT


class WMSE(Method):
    """W-MSE around any encoder."""

    family = "redundancy reduction"
    reads = Images(any_count=True)

    class Config(MethodConfig):
        """Settings of W-MSE."""

        slice_size: int = Field(128, gt=1, description="number of images whitened together; twice the dimensions")
        slicings: int = Field(1, ge=1, le=_MOST_SLICINGS, description="number of random cuts of the batch, averaged")
        shrinkage: float = Field(1e-3, ge=0, lt=1, description="share of the identity in the covariance")
        hidden_dim: int = Field(1024, gt=0, description="width of the projector")
        projection_dim: int = Field(64, gt=1, description="number of dimensions to whiten; 128 for ImageNet")

    config: Config

    def __init__(self, encoder: nn.Module, config: Config | None = None) -> None:
        super().__init__(encoder, config)
        sizes = [self.embed_dim, self.config.hidden_dim, self.config.projection_dim]
        self.projector = mlp(sizes, output_bias=False)

    @staticmethod
    def default_views(size: tuple[int, int], channels: int = 3) -> list[Spec]:
        """The authors' views for small images, those of SimCLR for large ones, and the numbers that sort the images."""
        weak = View(size, count=2, scale=(0.2, 1.0), jitter=(0.4, 0.4, 0.4, 0.1), grayscale=0.1)
        strong = weak._replace(scale=(0.08, 1.0), jitter=(0.8, 0.8, 0.8, 0.2), grayscale=0.2)
        return [weak if is_small(size) else strong, Draws(_MOST_SLICINGS)]

    @staticmethod
    def recipe(facts: DataFacts) -> Recipe:
        """Dimensions that half a batch can fill, and slices of twice as many images."""
        dims = max(2, min(64 if facts.inputs < 100_000 else 128, facts.batch_size // 2))
        method = {
            "projection_dim": Setting(dims, f"at most half of the batch size {facts.batch_size}"),
            "slice_size": Setting(2 * dims, "2 x projection_dim"),
        }
        return Recipe.of("adamw", facts.square_root_rate(1e-3), method)

    def chance_loss(self, batch_size: int) -> tuple[float, str]:
        """The loss of views at right angles, which whitened vectors are for any encoder."""
        return 2.0, "2 - 2 cos 90 degrees"

    def forward(self, views: list[Tensor], progress: Progress) -> StepOutput:
        """The loss of the global batch, whitened in random slices, averaged over the cuts."""
        *images, draws = views
        embeddings = [self.encoder(view) for view in images]  # V times (B, D)
        parts = self.projector(torch.cat(embeddings)).chunk(len(images))  # V times (B, P)
        projections = torch.stack([gather(part) for part in parts])  # (V, W B, P)
        orders = gather(draws)[:, : self.config.slicings].argsort(dim=0).unbind(dim=1)  # (W B,) each
        size, shrinkage = self.config.slice_size, self.config.shrinkage
        losses = [w_mse_loss(projections, order, slice_size=size, shrinkage=shrinkage) for order in orders]
        return StepOutput(torch.stack(losses).mean(), {}, embeddings[0].detach())
