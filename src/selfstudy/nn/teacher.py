"""The teacher of self-distillation: slow copies of an encoder and of the head behind it."""

from typing import Generic, TypeVar, cast

import torch
from torch import Tensor, nn

from selfstudy.nn.ema import EMA

E = TypeVar("E", bound=nn.Module)
H = TypeVar("H", bound=nn.Module)


class Teacher(EMA, Generic[E, H]):
    """The moving average of a student's encoder and head, each under its name.

    Args:
        encoder: the student's encoder.
        head: the student's head, such as its projector; ``nn.Identity()`` if the teacher has none.
        train_mode: True if the teacher is in train mode whenever the method is, so that its BatchNorm uses the
            statistics of each batch. False if it stays in eval mode and copies the student's statistics.
    """

    def __init__(self, *, encoder: E, head: H, train_mode: bool = True) -> None:
        super().__init__(nn.ModuleDict({"encoder": encoder, "head": head}), train_mode=train_mode)
        self._student = (encoder, head)  # a tuple: registered here, they would be in the state dict twice

    @property
    def encoder(self) -> E:
        """The averaged encoder."""
        return cast(E, self.module.get_submodule("encoder"))

    @property
    def head(self) -> H:
        """The averaged head."""
        return cast(H, self.module.get_submodule("head"))

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """Return the head's output (B, K) for the embeddings of ``x``, without gradient."""
        output: Tensor = self.head(self.encoder(x))
        return output

    def follow(self, momentum: float) -> None:
        """Move toward the student; call it once per optimizer step.

        Args:
            momentum: the fraction of the teacher that is kept, in [0, 1].
        """
        self.move_toward(nn.ModuleList(self._student), momentum)
