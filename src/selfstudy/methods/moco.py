"""MoCo v2: a query finds its key in a long queue of keys from a slowly moving encoder (He et al. 2020).

Papers: Momentum Contrast, arXiv:1911.05722 (loss: eq. 1, momentum: eq. 2); v2's MLP head, blur and temperature:
Chen et al. 2020, arXiv:2003.04297.

Differences from the authors' code:

- Shuffled BatchNorm needs several GPUs. Here the key encoder normalises with the statistics of its own batch of second
  views, which leaves the leak that shuffling closes. On several GPUs our loop synchronises BatchNorm. That does not
  close the leak: queries and keys are still normalised each with their own whole batch.
- Long runs have a learning rate of 0.06 per 256 images and a weight decay of 5e-4. The paper's are 0.03 and 1e-4, for
  all parameters; ``recipes/published`` has them.
- Momentum and queue follow the length of the run and the number of images. With the paper's 0.999 the teacher of 2,000
  steps would hardly move. A queue larger than the data holds an image's own keys, and the age alone of keys that
  outlive the teacher tells them from the positive (docs/log.md, 2026-11-24).
- ``symmetric=True`` takes the loss in both directions, as MoCo v3 and solo-learn do, in twice the time.
"""

import math

from pydantic import Field
from torch import Tensor, nn

from selfstudy.methods.base import DataFacts, Method, MethodConfig, Recipe, Setting, StepOutput
from selfstudy.nn.heads import mlp
from selfstudy.nn.queue import Queue
from selfstudy.nn.teacher import Teacher
from selfstudy.ops.contrastive import info_nce
from selfstudy.ops.distributed import gather
from selfstudy.ops.schedules import Progress
from selfstudy.views.usual import mild_pair


class MoCo(Method):
    """MoCo v2 around any encoder."""

    family = "contrastive"
    default_views = staticmethod(mild_pair)  # those of v2

    class Config(MethodConfig):
        """Settings of MoCo v2."""

        temperature: float = Field(0.2, gt=0, description="0.2 in v2, 0.07 in v1")
        momentum: float = Field(0.999, ge=0, lt=1, description="fraction of the key encoder kept per step")
        queue_size: int = Field(65536, ge=1, description="number of keys kept; at most an eighth of the images")
        hidden_dim: int = Field(2048, gt=0, description="width of the projector")
        projection_dim: int = Field(128, gt=0, description="size of queries and keys")
        symmetric: bool = Field(False, description="take the loss in both directions")

    config: Config

    def __init__(self, encoder: nn.Module, config: Config | None = None) -> None:
        super().__init__(encoder, config)
        self.projector = mlp([self.embed_dim, self.config.hidden_dim, self.config.projection_dim], norm=False)
        self.teacher = Teacher(encoder=self.encoder, head=self.projector)
        self.queue = Queue(self.config.projection_dim, self.config.queue_size)

    @staticmethod
    def recipe(facts: DataFacts) -> Recipe:
        """Momentum from the number of steps, the queue from the momentum and the number of images."""
        batch, momentum = facts.batch_size, facts.momentum(12, at_most=0.999)
        young = int(0.25 / (1 - momentum.value)) * batch  # no key is older than a quarter of a turnover
        queue = max(batch, min(65536, young, facts.inputs // 8 // batch * batch))
        why = f"a quarter of a turnover, at most an eighth of {facts.inputs:,} images"
        method = {"queue_size": Setting(queue, why), "momentum": momentum}
        return Recipe.of("sgd", facts.linear_rate(0.12 if facts.short else 0.06), method, weight_decay=5e-4)

    def chance_loss(self, batch_size: int) -> tuple[float, str]:
        """The loss when every key is equally likely."""
        return math.log(self.config.queue_size + 1), "ln(K + 1)"

    def forward(self, views: list[Tensor], progress: Progress) -> StepOutput:
        """The loss of queries of one view against keys of the other and the queue; then the keys join the queue."""
        first, second = views
        embedding = self.encoder(first)  # (B, D)
        keys = self.teacher(second)  # (B, P)
        loss = info_nce(self.projector(embedding), keys, self.queue.items, self.config.temperature)
        if self.config.symmetric:
            other = info_nce(
                self.projector(self.encoder(second)), self.teacher(first), self.queue.items, self.config.temperature
            )
            loss = (loss + other) / 2
        if self.training:
            self.queue.push(nn.functional.normalize(gather(keys).to(self.queue.items.dtype), dim=1))
        return StepOutput(loss, {}, embedding.detach())

    def after_step(self, progress: Progress) -> None:
        """Move the key encoder (eq. 2)."""
        self.teacher.follow(self.config.momentum)
