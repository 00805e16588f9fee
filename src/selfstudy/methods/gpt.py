"""GPT: every token is predicted from those before it (Radford et al. 2018 and 2019).

Papers: Improving Language Understanding by Generative Pre-Training, eq. 1, and Language Models are Unsupervised
Multitask Learners; neither is on arXiv.

Differences from the authors' code:

- A row may hold several documents. A token sees only its own document, and positions start again in each. The first
  token of a document is predicted from the token that ends the one before. With ``across_documents`` tokens see earlier
  documents too, as in their code.
- The default network has Llama's layout and no dropout; theirs is the decoder of Vaswani et al. 2017,
  arXiv:1706.03762, with 0.1.
"""

import math

from pydantic import Field
from torch import Tensor

from selfstudy.encoders.base import LanguageEncoder
from selfstudy.encoders.text import segments_of
from selfstudy.methods.base import DataFacts, Method, MethodConfig, Recipe, StepOutput
from selfstudy.methods.reads import Text
from selfstudy.ops.schedules import Progress
from selfstudy.ops.vocabulary import vocabulary_loss
from selfstudy.views.spec import Spec, Tokens


class GPT(Method):
    """GPT around a text encoder that sees only earlier tokens."""

    family = "next token"
    reads = Text(head="causal")

    class Config(MethodConfig):
        """Settings of GPT."""

        across_documents: bool = Field(False, description="let tokens see the documents before their own")

    config: Config
    encoder: LanguageEncoder

    @staticmethod
    def default_views(size: tuple[int, int], channels: int = 3) -> list[Spec]:
        """Full rows, one token longer than what is encoded."""
        return [Tokens(size[1] + 1)]

    @staticmethod
    def recipe(facts: DataFacts) -> Recipe:
        """AdamW with a square-root rule and a short memory of squared gradients."""
        rate = facts.text_rate(3e-3 if facts.short else 1e-3, at=32)
        return Recipe.of("adamw", rate, weight_decay=0.1, clip=1.0, beta2=0.95)

    def chance_loss(self, batch_size: int) -> tuple[float, str]:
        """The loss when every entry of the vocabulary is equally likely."""
        return math.log(self.encoder.vocabulary.size), "ln V"

    def forward(self, views: list[Tensor], progress: Progress) -> StepOutput:
        """The cross entropy of each next token."""
        given, answers = views[0][:, :-1], views[0][:, 1:].flatten()  # (B, T), (B T,)
        segments = None if self.config.across_documents else segments_of(given, self.encoder.vocabulary.id_of("eos"))
        states = self.encoder.states(given, segments)  # (B, T, D)
        head, size = self.encoder.logits, self.encoder.vocabulary.size
        loss, right = vocabulary_loss(head, states.flatten(0, 1), answers, size, self.encoder.head_parameters())
        return StepOutput(loss, {"accuracy": right}, self.encoder.pooled(states, given).detach())
