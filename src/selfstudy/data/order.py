"""The inputs of each step: a pure function of the seed and the number of the step."""

import torch
from torch import Tensor

from selfstudy.errors import DataError
from selfstudy.ops.random import permutation


class EpochOrder:
    """Epochs of ``n`` inputs, each in its own permutation and cut into whole batches; the rest of an epoch is left out.

    Args:
        seed: the seed of the run.
        n: the number of inputs: usable images, or rows of text.
        batch_size: the number of inputs of one optimizer step, over all processes.

    Raises:
        DataError: there are fewer inputs than one batch takes.
    """

    def __init__(self, seed: int, n: int, batch_size: int) -> None:
        if n < batch_size:
            raise DataError(
                f"found {n} inputs, batch size {batch_size}\nuse --batch-size {max(n, 1)} or less, or add inputs"
            )
        self.seed, self.n, self.batch_size = seed, n, batch_size
        self.steps_per_epoch = n // batch_size
        self._epoch, self._permutation = -1, torch.empty(0, dtype=torch.int64)

    def batch(self, step: int) -> tuple[int, Tensor]:
        """The epoch of a step, and the positions (B,) int64 of its inputs."""
        epoch, within = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            self._epoch, self._permutation = epoch, permutation(self.n, self.seed, epoch)
        return epoch, self._permutation[within * self.batch_size : (within + 1) * self.batch_size]
