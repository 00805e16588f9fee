"""BERT: an encoder that sees both sides predicts the tokens that are hidden (Devlin et al. 2019).

Paper: BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding, arXiv:1810.04805, section 3.1,
task 1: the cross entropy of the hidden tokens. Of the chosen ones 80 % become the mask token, 10 % another token, and
10 % stay as they are (appendix A.1).

Differences from the authors' code:

- There is no next-sentence task, and every epoch draws new masks, both as in RoBERTa (Liu et al. 2019,
  arXiv:1907.11692).
- Rows are full: a row holds several documents, and no token sees another document.
- Every row has the same number of hidden tokens. So the head and its product with the vocabulary, most of a small
  network's work, run on those alone (as in Geiping & Goldstein 2023, arXiv:2212.14034).
- The other token is never a special one.
- The default network has ModernBERT's layout and no dropout; theirs is the encoder of Vaswani et al. with 0.1.
"""

import math

import torch
from pydantic import Field
from torch import Tensor, nn

from selfstudy.encoders.base import LanguageEncoder
from selfstudy.encoders.text import segments_of
from selfstudy.methods.base import DataFacts, Method, MethodConfig, Recipe, StepOutput
from selfstudy.methods.reads import Text
from selfstudy.ops.masked_tokens import hidden_positions, noised, special_tokens
from selfstudy.ops.schedules import Progress
from selfstudy.ops.vocabulary import vocabulary_loss
from selfstudy.views.spec import Draws, Spec, Tokens


class BERT(Method):
    """BERT around a text encoder that sees both sides."""

    family = "masked prediction"
    reads = Text(head="masked")

    class Config(MethodConfig):
        """Settings of BERT."""

        mask_rate: float = Field(0.15, gt=0, lt=1, description="share of a row that is hidden; 0.3 for large networks")
        keep_share: float = Field(0.1, ge=0, lt=1, description="share of the hidden tokens that stay visible")
        random_share: float = Field(0.1, ge=0, lt=1, description="share of the hidden tokens shown as another token")
        whole_words: bool = Field(False, description="hide whole words instead of parts of words")

    config: Config
    encoder: LanguageEncoder
    ordinary: Tensor
    special: Tensor

    def __init__(self, encoder: nn.Module, config: Config | None = None) -> None:
        super().__init__(encoder, config)
        size, *special = self.encoder.vocabulary
        self.register_buffer("special", special_tokens(size, special), persistent=False)  # (V,)
        self.register_buffer("ordinary", (~self.special).nonzero().flatten(), persistent=False)  # (N,)

    @staticmethod
    def default_views(size: tuple[int, int], channels: int = 3) -> list[Spec]:
        """Full rows between the class token and the separator; numbers that decide what is hidden, how, and by what."""
        return [Tokens(size[1], wrapped=True), Draws(3 * size[1])]

    @staticmethod
    def recipe(facts: DataFacts) -> Recipe:
        """AdamW with a square-root rule and a shorter memory of squared gradients."""
        rate = facts.text_rate(2e-3 if facts.short else 1e-3, at=64)
        return Recipe.of("adamw", rate, weight_decay=0.01, warmup=0.1, clip=1.0, beta2=0.98)

    def chance_loss(self, batch_size: int) -> tuple[float, str]:
        """The loss when every entry of the vocabulary is equally likely."""
        return math.log(self.encoder.vocabulary.size), "ln V"

    def forward(self, views: list[Tensor], progress: Progress) -> StepOutput:
        """The cross entropy of the hidden tokens."""
        ids, (order, fate, other) = views[0], views[1].chunk(3, dim=1)  # (B, T) each
        words = self.encoder.starts_word[ids] if self.config.whole_words else None
        count = max(1, round(self.config.mask_rate * ids.shape[1]))
        hidden = hidden_positions(order, self.special[ids], count, words)  # (B, M)
        answers = ids.gather(1, hidden)
        states = self.encoder.states(self._shown(ids, hidden, fate, other), self._segments(ids))  # (B, T, D)
        asked = states[torch.arange(len(ids))[:, None], hidden].flatten(0, 1)  # (B M, D)
        head, size = self.encoder.logits, self.encoder.vocabulary.size
        loss, right = vocabulary_loss(head, asked, answers.flatten(), size, self.encoder.head_parameters())
        return StepOutput(loss, {"accuracy": right}, self.encoder.pooled(states, ids).detach())

    def _shown(self, ids: Tensor, hidden: Tensor, fate: Tensor, other: Tensor) -> Tensor:
        """The rows (B, T) as the encoder sees them."""
        c = self.config
        instead = noised(
            ids.gather(1, hidden),
            fate.gather(1, hidden),
            other.gather(1, hidden),
            mask=self.encoder.vocabulary.id_of("mask"),
            ordinary=self.ordinary,
            keep=c.keep_share,
            random=c.random_share,
        )
        return ids.scatter(1, hidden, instead)

    def _segments(self, ids: Tensor) -> Tensor:
        """The document numbers (B, T) of the tokens in each row."""
        return segments_of(ids, self.encoder.vocabulary.id_of("eos"))
