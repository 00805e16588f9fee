"""SimCSE: a sentence attracts itself under another dropout mask, and repels the other sentences (Gao et al. 2021).

Paper: SimCSE: Simple Contrastive Learning of Sentence Embeddings, arXiv:2104.08821, the unsupervised one; the loss is
eq. 4, here :func:`selfstudy.ops.contrastive.info_nce_in_batch`. Dropout is the only augmentation (section 3), so the
encoder must have some.

Differences from the authors' code:

- Sentences are pooled by the mean over their tokens, not by the class token, which needs a pre-trained encoder.
- Negatives of all processes carry gradient; theirs do not, and their average over processes shrinks it.
- ``cutoff`` takes tokens away from either view (token cutoff of ConSERT, Yan et al. 2021, arXiv:2105.11741, section
  3.2, where they stay as zeros; here those that remain move together, which saves their share of the work). The paper,
  and this by default, has none. Short runs have it: a small encoder tells texts apart under dropout alone within a few
  hundred steps and then learns nothing more; two halves of a text are matched by what their words have to do with each
  other.
- From random weights by default; ``encoder.name=RUN/encoder`` starts from a run of bert, as the paper does from BERT.
"""

from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from selfstudy.methods.base import DataFacts, Method, MethodConfig, Recipe, StepOutput
from selfstudy.ops.contrastive import info_nce_in_batch
from selfstudy.ops.distributed import gather
from selfstudy.ops.masked_tokens import special_tokens
from selfstudy.ops.schedules import Progress
from selfstudy.views.spec import Draws, Spec, Tokens


class SimCSE(Method):
    """SimCSE around a text encoder with dropout."""

    modality = "text"
    family = "contrastive"
    reads_pieces = True
    dropout = 0.1
    smallest_batch = 128  # the other sentences are what a sentence is told from

    class Config(MethodConfig):
        """Settings of SimCSE."""

        temperature: float = Field(0.05, gt=0, description="0.05 throughout the paper")
        cutoff: float = Field(0.0, ge=0, lt=1, description="share of the tokens that each view lacks")

    config: Config
    encoder: Any  # a module and a LanguageEncoder
    special: Tensor

    def __init__(self, encoder: nn.Module, config: Config | None = None) -> None:
        super().__init__(encoder, config)
        size, *special = self.encoder.vocabulary
        self.register_buffer("special", special_tokens(size, special), persistent=False)  # (V,)
        self.projector = nn.Sequential(nn.Linear(self.embed_dim, self.embed_dim), nn.Tanh())

    @staticmethod
    def default_views(size: tuple[int, int], channels: int = 3) -> list[Spec]:
        """Documents, those too long in pieces, between the class token and the separator; draws of which tokens go."""
        return [Tokens(size[1], pieces=True, wrapped=True), Draws(2 * size[1])]

    @staticmethod
    def recipe(facts: DataFacts) -> Recipe:
        """AdamW with a square-root rule."""
        rate = facts.text_rate(3e-4, at=64)
        return Recipe.of("adamw", rate, facts.if_short(cutoff=0.5), weight_decay=0.01, warmup=0.1, clip=1.0)

    def chance_loss(self, batch_size: int) -> tuple[float, str]:
        """Every sentence as close as the same one."""
        return float(torch.tensor(float(batch_size)).log()), "ln B"

    def forward(self, views: list[Tensor], progress: Progress) -> StepOutput:
        """Encode every sentence twice, in one call, and contrast the two over all processes."""
        ids = torch.cat([views[0], views[0]])  # (2B, T)
        if self.config.cutoff > 0:
            ids = self._cut(ids, torch.cat(views[1].chunk(2, dim=1)))
        embedding = self.encoder(ids)  # (2B, D)
        first, second = self.projector(embedding).chunk(2)  # (B, D) each
        loss = info_nce_in_batch(gather(first), gather(second), self.config.temperature)
        return StepOutput(loss, {}, embedding[: len(views[0])].detach())

    def _cut(self, ids: Tensor, draws: Tensor) -> Tensor:
        """The rows (2B, T) without the tokens that their draws (2B, at least T) take, cut to the longest of them."""
        pad = self.encoder.vocabulary.pad
        taken = (draws[:, : ids.shape[1]] < self.config.cutoff) & ~self.special[ids]
        stays = ~taken & (ids != pad)  # (2B, T)
        order = (~stays).int().argsort(dim=1, stable=True)[:, : int(stays.sum(dim=1).max())]
        return torch.where(stays, ids, pad).gather(1, order)
