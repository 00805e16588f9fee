"""ELECTRA: which tokens of a row did another network put there? (Clark et al. 2020).

Paper: ELECTRA: Pre-training Text Encoders as Discriminators Rather Than Generators, arXiv:2003.10555, section 2. A
small generator learns to predict hidden tokens, as in BERT. Its guesses, drawn at random from its predictions, replace
them. For every token the encoder predicts whether it is the original, :func:`replaced_loss`. So it learns from all
tokens where BERT learns from the hidden ones, and needs fewer steps.

Differences from the authors' code:

- The generator has its own embeddings; theirs shares the encoder's.
- A guess is drawn by a uniform number that belongs to its row, so neither the batch nor the process changes it.
- Rows are full: a row holds several documents, and no token sees another document.
- Every chosen token becomes the mask token; theirs shows 15 % of them to the generator unchanged.
- The default network has ModernBERT's layout and no dropout; theirs is BERT's with 0.1.
"""

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from selfstudy.encoders.text import TextEncoder, build_text_encoder, segments_of
from selfstudy.methods.base import DataFacts, Method, MethodConfig, Recipe, StepOutput
from selfstudy.methods.reads import Text
from selfstudy.ops.classification import accuracy, cross_entropy
from selfstudy.ops.masked_tokens import drawn_tokens, hidden_positions, special_tokens
from selfstudy.ops.precision import full_precision
from selfstudy.ops.schedules import Progress
from selfstudy.views.spec import Draws, Spec, Tokens


@full_precision
def replaced_loss(scores: Tensor, replaced: Tensor) -> Tensor:
    """Binary cross entropy of "this token was replaced", averaged over all tokens.

    Args:
        scores: the logarithms (B, T) of the odds.
        replaced: (B, T) bool, True where a token was replaced.

    Returns:
        () float32 (float64 for float64 input); ln 2 for scores of 0.

    Source: Clark et al. 2020, arXiv:2003.10555, L_Disc of section 2.
    """
    return F.binary_cross_entropy_with_logits(scores, replaced.to(scores.dtype))


class ELECTRA(Method):
    """ELECTRA around a text encoder that sees both sides."""

    family = "masked prediction"
    reads = Text()

    class Config(MethodConfig):
        """Settings of ELECTRA."""

        mask_rate: float = Field(0.15, gt=0, lt=1, description="share of a row that the generator fills in")
        weight: float = Field(50.0, gt=0, description="lambda, the weight of the encoder's own loss")
        generator_share: int = Field(4, ge=1, description="width of the encoder divided by that of the generator")

    config: Config
    encoder: TextEncoder
    special: Tensor

    def __init__(self, encoder: nn.Module, config: Config | None = None) -> None:
        super().__init__(encoder, config)
        size, *special = self.encoder.vocabulary
        self.register_buffer("special", special_tokens(size, special), persistent=False)  # (V,)
        width = max(16, self.embed_dim // self.config.generator_share // 16 * 16)
        changes = {"width": width, "depth": self.encoder.depth, "heads": max(1, width // 64)}
        name, context = f"{self.encoder.layout}-tiny", self.encoder.context
        self.generator = build_text_encoder(name, self.encoder.vocabulary, head=True, context=context, changes=changes)
        self.head = nn.Sequential(nn.Linear(self.embed_dim, self.embed_dim), nn.GELU(), nn.Linear(self.embed_dim, 1))

    @staticmethod
    def default_views(size: tuple[int, int], channels: int = 3) -> list[Spec]:
        """Full rows between the class token and the separator; numbers that decide hidden tokens and guesses."""
        return [Tokens(size[1], wrapped=True), Draws(2 * size[1])]

    @staticmethod
    def recipe(facts: DataFacts) -> Recipe:
        """AdamW with a square-root rule and a shorter memory of squared gradients."""
        rate = facts.text_rate(1e-3, at=64)
        return Recipe.of("adamw", rate, weight_decay=0.01, warmup=0.1, clip=1.0, beta2=0.98)

    def forward(self, views: list[Tensor], progress: Progress) -> StepOutput:
        """The generator's loss of hidden tokens, and the encoder's of telling its guesses from the originals."""
        ids, (order, guess) = views[0], views[1].chunk(2, dim=1)  # (B, T) each
        hidden = hidden_positions(order, self.special[ids], max(1, round(self.config.mask_rate * ids.shape[1])))
        segments, answers = segments_of(ids, self.encoder.vocabulary.id_of("eos")), ids.gather(1, hidden)  # (B, M)
        states = self.generator.states(ids.scatter(1, hidden, self.encoder.vocabulary.id_of("mask")), segments)
        logits = self.generator.logits(states[torch.arange(len(ids))[:, None], hidden])  # (B, M, V)
        shown = ids.scatter(1, hidden, drawn_tokens(logits, guess.gather(1, hidden)))
        states = self.encoder.states(shown, segments)
        scores, replaced = self.head(states)[..., 0], shown != ids  # (B, T)
        generator_loss = cross_entropy(logits.flatten(0, 1), answers.flatten())
        loss = generator_loss + self.config.weight * replaced_loss(scores, replaced)
        metrics = {
            "generator_loss": generator_loss.detach(),
            "generator_accuracy": accuracy(logits.flatten(0, 1), answers.flatten()),
            "accuracy": ((scores > 0) == replaced).float().mean(),
        }
        return StepOutput(loss, metrics, self.encoder.pooled(states, shown).detach())
