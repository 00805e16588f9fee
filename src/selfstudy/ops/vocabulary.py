"""The cross entropy over a large vocabulary, without holding all scores in memory."""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from selfstudy.ops.classification import accuracy

_SCORES = 2**22  # scores in memory at once, 16 MiB in float32
_COUNTED = 256  # rows used for the accuracy; all rows would take a tenth of a step


def vocabulary_loss(
    score: Callable[[Tensor], Tensor], states: Tensor, answers: Tensor, size: int, parameters: Iterable[Tensor]
) -> tuple[Tensor, Tensor]:
    """The mean cross entropy over a vocabulary, and the accuracy of the first rows.

    The scores of a large vocabulary can take more memory and time than the rest of a step. So they are computed in
    parts, and each part computes its gradient, softmax minus one-hot answer, at once and in place. Nothing is kept for
    the backward pass, and nothing is computed twice.

    Args:
        score: function from states (n, D) to scores (n, K).
        states: (N, D).
        answers: (N,) int64 in 0 .. K - 1.
        size: K, entries of the vocabulary.
        parameters: all trainable tensors that ``score`` depends on; further ones only cost time.

    Returns:
        The loss, () float32 (float64 for float64 scores), which can be differentiated once, and the accuracy,
        () float32 in [0, 1].
    """
    learns = torch.is_grad_enabled()
    learning = [value for value in parameters if learns and value.requires_grad]
    of_states = torch.empty_like(states)
    of_learning: list[Tensor | None] = [None] * len(learning)
    losses, rights = [], []
    rows = max(1, _SCORES // size)
    parts = (torch.split(whole, rows) for whole in (states, answers, of_states))
    for some, right, of_some in zip(*parts, strict=True):
        given = some.detach().requires_grad_(learns)
        scores = score(given)  # (n, K)
        rights.append(accuracy(scores[:_COUNTED], right[:_COUNTED]))
        loss, error = _loss_and_error(scores.detach(), right)
        losses.append(loss)
        if learns:
            found = torch.autograd.grad(scores, [given, *learning], error.to(scores.dtype), allow_unused=True)
            of_some.copy_(found[0])
            of_learning = [_added(total, more) for total, more in zip(of_learning, found[1:], strict=True)]
    total = torch.stack(losses).sum()
    if learns:
        total = _WithGradient.apply(total, [of_states, *of_learning], states, *learning)
    return total / len(answers), rights[0]


def _loss_and_error(scores: Tensor, answers: Tensor) -> tuple[Tensor, Tensor]:
    """The summed cross entropy of scores (n, K), and its gradient (n, K), in float32 or float64."""
    work = scores.to(torch.promote_types(scores.dtype, torch.float32), copy=True)
    work -= work.amax(dim=1, keepdim=True)
    asked = answers[:, None]
    answered = work.gather(1, asked)  # (n, 1)
    sums = work.exp_().sum(dim=1, keepdim=True)  # (n, 1)
    work /= sums
    work.scatter_add_(1, asked, torch.full_like(answered, -1))
    return (sums.log() - answered).sum(), work


def _added(total: Tensor | None, more: Tensor | None) -> Tensor | None:
    """The sum, in a tensor of its own from the start: autograd may return one tensor twice."""
    if more is None:
        return total
    return more.clone() if total is None else total.add_(more)


class _WithGradient(torch.autograd.Function):
    """A value with gradients that are computed already."""

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx, value: Tensor, known: Sequence[Tensor | None], *inputs: Tensor
    ) -> Tensor:
        """The value, which autograd now regards as a function of the inputs."""
        ctx.save_for_backward(*known)  # type: ignore[arg-type]  # torch's stub leaves out None
        return value.clone()

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """The known gradients, scaled."""
        known: Sequence[Tensor | None] = ctx.saved_tensors  # type: ignore[attr-defined]  # torch's stub leaves it out
        return None, None, *(None if value is None else value * grads[0].to(value.dtype) for value in known)
