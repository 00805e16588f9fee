"""Two ways to keep a teacher from one output for all images: subtract a centre, or share outputs out by Sinkhorn."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfstudy.ops.distributed import gather
from selfstudy.ops.sinkhorn import sinkhorn


class Centre(nn.Module):
    """The moving average of a teacher's outputs, subtracted from them before the softmax.

    It is part of the state dict. It moves once per optimizer step, toward the mean of all outputs that were centred in
    training since the last step, on every process and in every micro-batch.

    Args:
        dim: the number K of outputs.
        momentum: the fraction of the centre that is kept per step, in [0, 1).

    Source: Caron et al. 2021, arXiv:2104.14294, section 3.1, eq. 4.
    """

    value: Tensor

    def __init__(self, dim: int, *, momentum: float = 0.9) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("value", torch.zeros(dim))
        self._seen: list[Tensor] = []  # only within one optimizer step, so not part of the state

    @torch.no_grad()
    def forward(self, outputs: Tensor) -> Tensor:
        """Return ``outputs`` (B, K) minus the centre, without gradient; in training they also move the centre."""
        if self.training:
            count = outputs.new_full((1,), len(outputs))
            mean = outputs.sum(dim=0) / count.clamp(min=1)  # (K,)
            self._seen.append(gather(torch.cat([mean, count])[None]))  # (W, K + 1)
        return self.centred(outputs)

    def centred(self, outputs: Tensor) -> Tensor:
        """Return ``outputs`` (B, K) minus the centre, which does not change."""
        return outputs - self.value

    def targets(self, outputs: Tensor, temperature: float) -> Tensor:
        """Return a student's targets (B, K): the probabilities of ``outputs`` (B, K), centred and sharpened."""
        return F.softmax(self(outputs) / temperature, dim=1)

    @torch.no_grad()
    def move(self) -> None:
        """Move toward the mean of the outputs centred since the last move; call once per optimizer step."""
        if self._seen:
            rows = torch.cat(self._seen)
            shares = rows[:, -1:] / rows[:, -1].sum().clamp(min=1)
            self.value.lerp_((rows[:, :-1] * shares).sum(dim=0), 1 - self.momentum)
            self._seen.clear()


class EqualShares(nn.Module):
    """Targets that use every output equally within the global batch, in place of a centre. It has no state.

    Source: Oquab et al. 2023, arXiv:2304.07193, section 4, "Sinkhorn-Knopp centering".
    """

    def targets(self, outputs: Tensor, temperature: float) -> Tensor:
        """Return a student's targets (B, K) for ``outputs`` (B, K), as probabilities."""
        return sinkhorn(outputs, temperature, iterations=3)

    def centred(self, outputs: Tensor) -> Tensor:
        """Return ``outputs`` (B, K) unchanged: shares belong to a batch, and one image alone has none."""
        return outputs

    def move(self) -> None:
        """Do nothing, because shares depend on the batch alone."""


def centring(kind: str, dim: int) -> Centre | EqualShares:
    """Return the way ``kind``, ``"centre"`` or ``"sinkhorn"``, for a teacher with ``dim`` outputs."""
    return Centre(dim) if kind == "centre" else EqualShares()
