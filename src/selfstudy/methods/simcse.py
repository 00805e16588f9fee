"""SimCSE: a sentence attracts itself under another dropout mask and repels all others (Gao et al. 2021).

Paper: SimCSE: Simple Contrastive Learning of Sentence Embeddings, arXiv:2104.08821, the unsupervised one. The loss is
eq. 4, here :func:`selfstudy.ops.contrastive.info_nce_in_batch`. Dropout is the only augmentation (section 3), so the
encoder must have some.

Differences from the authors' code:

- Sentences are pooled by the mean over their tokens; theirs use the class token, which needs a pre-trained encoder.
- The negatives of all processes carry gradient. Theirs do not, and the average over processes makes theirs smaller.
- ``shared`` is the share of a text's tokens in both views; each other token is in one view alone. In the paper, and by
  default, both views have all tokens. Under dropout alone a small encoder tells texts apart within a few hundred steps
  and then learns no more. So in short runs two views share a fifth: words that belong together, and sometimes the same
  word, match them, as in the inverse cloze task (Lee et al. 2019, arXiv:1906.00300, section 3.2).
- The encoder starts from random weights by default; ``encoder.name=RUN/encoder`` starts from a run of bert, as the
  paper starts from BERT.
"""

import math

import torch
from pydantic import Field
from torch import Tensor, nn

from selfstudy.encoders.base import LanguageEncoder
from selfstudy.methods.base import DataFacts, Method, MethodConfig, Recipe, StepOutput
from selfstudy.methods.reads import Text
from selfstudy.ops.contrastive import info_nce_in_batch
from selfstudy.ops.distributed import gather
from selfstudy.ops.masked_tokens import special_tokens
from selfstudy.ops.schedules import Progress
from selfstudy.views.spec import Draws, Spec, Tokens

_PARTS = 4  # the number of parts of a batch, by length


class SimCSE(Method):
    """SimCSE around a text encoder with dropout."""

    family = "contrastive"
    reads = Text(pieces=True, dropout=0.1, smallest_batch=128)  # the other sentences are the negatives

    class Config(MethodConfig):
        """Settings of SimCSE."""

        temperature: float = Field(0.05, gt=0, description="0.05 throughout the paper")
        shared: float = Field(1.0, ge=0, le=1, description="share of a text's tokens that both views have")

    config: Config
    encoder: LanguageEncoder
    special: Tensor

    def __init__(self, encoder: nn.Module, config: Config | None = None) -> None:
        super().__init__(encoder, config)
        size, *special = self.encoder.vocabulary
        self.register_buffer("special", special_tokens(size, special), persistent=False)  # (V,)
        self.projector = nn.Sequential(nn.Linear(self.embed_dim, self.embed_dim), nn.Tanh())

    @staticmethod
    def default_views(size: tuple[int, int], channels: int = 3) -> list[Spec]:
        """Documents, long ones in pieces, between class token and separator; numbers that decide each token's view."""
        return [Tokens(size[1], pieces=True, wrapped=True), Draws(size[1])]

    @staticmethod
    def recipe(facts: DataFacts) -> Recipe:
        """AdamW with a square-root rule; a higher rate for encoders with random weights in short runs."""
        rate = facts.text_rate(1.5e-3 if facts.short and not facts.trained else 3e-4, at=64)
        return Recipe.of("adamw", rate, facts.if_short(shared=0.2), weight_decay=0.01, warmup=0.1, clip=1.0)

    def chance_loss(self, batch_size: int) -> tuple[float, str]:
        """The loss when every sentence is as close as the same one."""
        return math.log(batch_size), "ln B"

    def forward(self, views: list[Tensor], progress: Progress) -> StepOutput:
        """The contrastive loss of both views of every sentence, over the batches of all processes."""
        ids, draws = views
        embedding = self._embeddings(self._views(ids, draws[:, : ids.shape[1]]))  # (2B, D)
        first, second = self.projector(embedding).chunk(2)  # (B, D) each
        loss = info_nce_in_batch(gather(first), gather(second), self.config.temperature)
        return StepOutput(loss, {}, embedding[: len(ids)].detach())

    def _views(self, ids: Tensor, draws: Tensor) -> Tensor:
        """The first views of the rows (B, T), then the second ones: (2B, T) or shorter, with padding at the end."""
        pad, reach = self.encoder.vocabulary.id_of("pad"), (1 + self.config.shared) / 2
        special = self.special[ids]
        chosen = torch.cat([(draws < reach) | special, (draws >= 1 - reach) | special])  # (2B, T)
        ids = torch.cat([ids, ids])
        stays = chosen & (ids != pad)
        order = (~stays).int().argsort(dim=1, stable=True)[:, : int(stays.sum(dim=1).max())]
        return torch.where(stays, ids, pad).gather(1, order)

    def _embeddings(self, ids: Tensor) -> Tensor:
        """The embeddings (N, D) of rows (N, T); rows of similar length are encoded together, which saves padding."""
        lengths = (ids != self.encoder.vocabulary.id_of("pad")).sum(dim=1)
        order = lengths.argsort(stable=True)
        parts = [self.encoder(ids[rows, : int(lengths[rows[-1]])]) for rows in order.chunk(_PARTS)]
        return torch.cat(parts)[order.argsort()]
