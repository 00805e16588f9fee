"""Which images a step holds: a pure function of the seed and the step number."""

import torch
from torch import Tensor

from selfstudy.errors import DataError
from selfstudy.ops.random import permutation


class EpochOrder:
    """Epochs of ``n`` images, each in its own permutation, cut into whole batches; what remains waits for another.

    Args:
        seed: of the run.
        n: number of usable images.
        batch_size: images per optimizer step, over all processes.

    Raises:
        DataError: fewer images than a batch.
    """

    def __init__(self, seed: int, n: int, batch_size: int) -> None:
        if n < batch_size:
            raise DataError(
                f"found {n} usable images, batch size {batch_size}\nuse --batch-size {max(n, 1)} or less, or add images"
            )
        self.seed, self.n, self.batch_size = seed, n, batch_size
        self.steps_per_epoch = n // batch_size
        self._epoch, self._permutation = -1, torch.empty(0, dtype=torch.int64)

    def batch(self, step: int) -> tuple[int, Tensor]:
        """The epoch of a step and the positions (B,) int64 of its images."""
        epoch, within = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            self._epoch, self._permutation = epoch, permutation(self.n, self.seed, epoch)
        return epoch, self._permutation[within * self.batch_size : (within + 1) * self.batch_size]
