"""What keeps a teacher from giving every image the same output: a centre taken away, or Sinkhorn's equal shares."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfstudy.ops.distributed import gather
from selfstudy.ops.sinkhorn import sinkhorn


class Centre(nn.Module):
    """The moving average of a teacher's outputs, taken away from them before the softmax.

    It is part of the state dict and moves once per optimizer step, by the mean over all outputs that were centred in
    training since: those of every process and micro-batch, however many each had.

    Args:
        dim: K, the number of outputs.
        momentum: the fraction of the centre kept per step.

    Source: Caron et al. 2021, arXiv:2104.14294, section 3.1, eq. 4.
    """

    value: Tensor

    def __init__(self, dim: int, *, momentum: float = 0.9) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("value", torch.zeros(dim))
        self._seen: list[Tensor] = []  # within one optimizer step, so no part of the state

    @torch.no_grad()
    def forward(self, outputs: Tensor) -> Tensor:
        """``outputs`` (B, K) less the centre, without gradient."""
        if self.training:
            count = outputs.new_full((1,), len(outputs))
            mean = outputs.sum(dim=0) / count.clamp(min=1)  # (K,)
            self._seen.append(gather(torch.cat([mean, count])[None]))  # (W, K + 1)
        return self.centred(outputs)

    def centred(self, outputs: Tensor) -> Tensor:
        """``outputs`` (B, K) less the centre, which learns nothing of them: for those who only look."""
        return outputs - self.value

    def targets(self, outputs: Tensor, temperature: float) -> Tensor:
        """What a student is to learn from ``outputs`` (B, K): centred, sharpened, as probabilities."""
        return F.softmax(self(outputs) / temperature, dim=1)

    @torch.no_grad()
    def move(self) -> None:
        """Move toward the mean of what was centred since the last move; call once per optimizer step."""
        if self._seen:
            rows = torch.cat(self._seen)
            shares = rows[:, -1:] / rows[:, -1].sum().clamp(min=1)
            self.value.lerp_((rows[:, :-1] * shares).sum(dim=0), 1 - self.momentum)
            self._seen.clear()


class EqualShares(nn.Module):
    """In a centre's place: targets that use every output equally within the global batch. It has no state.

    Source: Oquab et al. 2023, arXiv:2304.07193, section 4, "Sinkhorn-Knopp centering".
    """

    def targets(self, outputs: Tensor, temperature: float) -> Tensor:
        """What a student is to learn from ``outputs`` (B, K), as probabilities."""
        return sinkhorn(outputs, temperature, iterations=3)

    def centred(self, outputs: Tensor) -> Tensor:
        """``outputs`` (B, K) as they are: shares belong to a batch, and one image alone has none."""
        return outputs

    def move(self) -> None:
        """Nothing: the shares are those of the batch alone."""


def centring(kind: str, dim: int) -> Centre | EqualShares:
    """``"centre"`` or ``"sinkhorn"``, for a teacher of ``dim`` outputs."""
    return Centre(dim) if kind == "centre" else EqualShares()
