"""The mean and the covariance of features that do not fit in memory together."""

import torch
from torch import Tensor


class Moments:
    """Sums over batches of features (B, F) float32, from which mean and covariance follow.

    The mean of the first batch is subtracted from all, because sums of small numbers keep their digits.

    Attributes:
        count: the number of rows.
    """

    def __init__(self) -> None:
        self.count = 0
        self._shift, self._total, self._products = torch.zeros(0), torch.zeros(0), torch.zeros(0, 0)

    def add(self, features: Tensor) -> None:
        """Add a batch (B, F)."""
        if not self.count:
            self._shift = features.mean(dim=0)
            self._total = torch.zeros_like(self._shift)
            self._products = self._total.new_zeros(len(self._total), len(self._total))
        features = features - self._shift
        self.count += len(features)
        self._total += features.sum(dim=0)
        self._products.addmm_(features.T, features)

    @property
    def mean(self) -> Tensor:
        """(F,) float32."""
        return self._shift + self._total / max(1, self.count)

    @property
    def covariance(self) -> Tensor:
        """(F, F) float32."""
        offset = self._total / max(1, self.count)
        return self._products / max(1, self.count) - torch.outer(offset, offset)
