"""RotNet: by how much is an image rotated? Every image in four rotations (Gidaris et al. 2018).

Paper: Unsupervised Representation Learning by Predicting Image Rotations, arXiv:1803.07728; loss eq. 2 and 3. All four
rotations of an image are in the same batch, which the paper found better than one at random (section 3).

Differences from the authors' code:

- They take features from the middle of the network, because its end knows little except rotations. Here the whole
  encoder is kept, and ``hidden_dim`` adds a layer behind it that is thrown away; 0 is the plain linear classifier.
- Crops keep the proportions of the pixels, because the direction of a stretch would reveal the rotation.
- A view that is not square changes its shape in a quarter turn. The upright and the lying pair then pass the encoder in
  two calls, and the shape reveals half of the answer: square views teach more.
- Short runs have AdamW, long ones SGD with the paper's learning rate and weight decay. The rate falls along a cosine;
  theirs drops in steps, as in ``recipes/published``.
"""

import math

import torch
from pydantic import Field
from torch import Tensor, nn

from selfstudy.methods.base import DataFacts, Method, MethodConfig, Recipe, Setting, StepOutput
from selfstudy.nn.heads import mlp
from selfstudy.ops.classification import accuracy, cross_entropy
from selfstudy.ops.schedules import Progress
from selfstudy.views.spec import View

_TURNS = 4


class RotationPrediction(Method):
    """RotNet around any encoder."""

    family = "classic pretext"

    class Config(MethodConfig):
        """Settings of RotNet."""

        hidden_dim: int = Field(0, ge=0, description="width of a layer before the classifier; 0 for none")

    config: Config

    def __init__(self, encoder: nn.Module, config: Config | None = None) -> None:
        super().__init__(encoder, config)
        hidden = [self.config.hidden_dim] if self.config.hidden_dim else []
        self.head = mlp([self.embed_dim, *hidden, _TURNS])

    @staticmethod
    def default_views(size: tuple[int, int], channels: int = 3) -> list[View]:
        """Random crops, stronger than the paper's, which take a little off the edges; flips, and no colours."""
        shape = size[1] / size[0]
        return [View(size, scale=(0.4, 1.0), ratio=(shape, shape))]

    @staticmethod
    def recipe(facts: DataFacts) -> Recipe:
        """The paper's SGD for long runs; AdamW and a hidden layer before the classifier for short ones."""
        if not facts.short:
            return Recipe.of("sgd", facts.linear_rate(0.1, at=128), weight_decay=5e-4)
        hidden = Setting(512, "a layer of its own for features that serve rotations only")
        return Recipe.of("adamw", facts.square_root_rate(2e-3), {"hidden_dim": hidden})

    def chance_loss(self, batch_size: int) -> tuple[float, str]:
        """The loss when every rotation is equally likely."""
        return math.log(_TURNS), "ln 4"

    def forward(self, views: list[Tensor], progress: Progress) -> StepOutput:
        """The cross entropy of the rotation of every image, turned by 0, 90, 180 and 270 degrees."""
        image = views[0]
        features = self._encode([torch.rot90(image, turn, (2, 3)) for turn in range(_TURNS)])  # (4B, D)
        logits = self.head(features)
        answers = torch.arange(_TURNS, device=image.device).repeat_interleave(len(image))  # (4B,)
        metrics = {"accuracy": accuracy(logits, answers)}
        return StepOutput(cross_entropy(logits, answers), metrics, features[: len(image)].detach())

    def _encode(self, turned: list[Tensor]) -> Tensor:
        """The embeddings (4B, D) of the four rotations in order, in as few calls as their shapes allow."""
        if turned[0].shape == turned[1].shape:
            embeddings: Tensor = self.encoder(torch.cat(turned))
            return embeddings
        upright, lying = (self.encoder(torch.cat(turned[start::2])).chunk(2) for start in (0, 1))
        return torch.cat([upright[0], lying[0], upright[1], lying[1]])
