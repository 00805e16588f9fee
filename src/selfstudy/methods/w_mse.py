"""W-MSE: views agree after whitening, which scatters every batch so that it cannot collapse (Ermolov et al. 2021).

Paper: Whitening for Self-Supervised Representation Learning, arXiv:2007.06346, section 3: the normalised distance of
all pairs of views (:func:`w_mse_loss`) after whitening by Cholesky's decomposition (:func:`whiten`), in random slices.

As in the authors' code the views are encoded one after the other and projected together.

Differences from the authors' code:

- Which images share a slice is drawn from the images' own numbers, so that any number of processes takes the same ones.
- A batch that is no multiple of the slice is cut into slices of nearly equal size; theirs refuses it.
- The covariance is drawn toward a multiple of the identity by ``shrinkage``: a slice with fewer images than
  dimensions, or one nearly in a plane, then still has a decomposition, and float32 gives its gradient to a thousandth.
  Theirs has the like, and leaves it off.
- The projector's last layer has no bias, which whitening would take away again.
- AdamW with a cosine instead of Adam with two steps.
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

_EPS = 1e-8  # variance of a batch that is all one point
_MOST_SLICINGS = 4  # the most that the authors take


@full_precision
def w_mse_loss(projections: Tensor, order: Tensor, *, slice_size: int, shrinkage: float = 0.0) -> Tensor:
    """Squared distance of whitened and normalised views of an image, averaged over images and pairs of views.

    Args:
        projections: (V, B, D) of V views.
        order: (B,) int64, the images in a random order, in which they are cut into slices whitened each on its own.
        slice_size: the fewest images of a slice, if the batch has as many; twice D or more.
        shrinkage: see :func:`whiten`.

    Returns:
        () float32 (float64 for float64 input), in [0, 4]; views that have nothing in common give 2.

    Source: Ermolov et al. 2021, arXiv:2007.06346, section 3.
    """
    slices = order.tensor_split(max(1, len(order) // slice_size))
    whitened = torch.cat([whiten(projections[:, part], shrinkage) for part in slices], dim=1)  # (V, B, D)
    return torch.stack([normalized_mse(a, b) for a, b in combinations(whitened.unbind(), 2)]).mean()


@full_precision
def whiten(x: Tensor, shrinkage: float) -> Tensor:
    """``x`` (..., N, D) moved and mixed linearly so that its N rows have zero mean and the identity as covariance.

    ``shrinkage`` in [0, 1] is the share of the covariance that is replaced by the identity times its mean variance.
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

        slice_size: int = Field(128, gt=1, description="images whitened together; twice the dimensions")
        slicings: int = Field(1, ge=1, le=_MOST_SLICINGS, description="ways to cut the batch, averaged")
        shrinkage: float = Field(1e-3, ge=0, lt=1, description="of the covariance toward the identity")
        hidden_dim: int = Field(1024, gt=0, description="width of the projector")
        projection_dim: int = Field(64, gt=1, description="dimensions to whiten; 128 for ImageNet")

    config: Config

    def __init__(self, encoder: nn.Module, config: Config | None = None) -> None:
        super().__init__(encoder, config)
        sizes = [self.embed_dim, self.config.hidden_dim, self.config.projection_dim]
        self.projector = mlp(sizes, output_bias=False)

    @staticmethod
    def default_views(size: tuple[int, int], channels: int = 3) -> list[Spec]:
        """The authors' pair for small images, SimCLR's strong one for large; and numbers that sort the images."""
        weak = View(size, count=2, scale=(0.2, 1.0), jitter=(0.4, 0.4, 0.4, 0.1), grayscale=0.1)
        strong = weak._replace(scale=(0.08, 1.0), jitter=(0.8, 0.8, 0.8, 0.2), grayscale=0.2)
        return [weak if is_small(size) else strong, Draws(_MOST_SLICINGS)]

    @staticmethod
    def recipe(facts: DataFacts) -> Recipe:
        """Dimensions that half a batch can fill, and slices of twice as many images."""
        dims = max(2, min(64 if facts.num_images < 100_000 else 128, facts.batch_size // 2))
        method = {
            "projection_dim": Setting(dims, f"at most half of the batch size {facts.batch_size}"),
            "slice_size": Setting(2 * dims, "2 x projection_dim"),
        }
        return Recipe.of("adamw", facts.square_root_rate(1e-3), method)

    def chance_loss(self, batch_size: int) -> tuple[float, str]:
        """Views at right angles: whitened vectors are spread evenly, whatever the encoder does."""
        return 2.0, "2 - 2 cos 90 degrees"

    def forward(self, views: list[Tensor], progress: Progress) -> StepOutput:
        """Whiten the projections of the global batch in random slices; compare the views."""
        *images, draws = views
        embeddings = [self.encoder(view) for view in images]  # V times (B, D)
        parts = self.projector(torch.cat(embeddings)).chunk(len(images))  # V times (B, P)
        projections = torch.stack([gather(part) for part in parts])  # (V, W B, P)
        orders = gather(draws)[:, : self.config.slicings].argsort(dim=0).unbind(dim=1)  # (W B,) each
        size, shrinkage = self.config.slice_size, self.config.shrinkage
        losses = [w_mse_loss(projections, order, slice_size=size, shrinkage=shrinkage) for order in orders]
        return StepOutput(torch.stack(losses).mean(), {}, embeddings[0].detach())
