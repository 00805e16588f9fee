"""PCA whitening: features turned and scaled so that they are uncorrelated, with variance 1 in every direction.

Cosines of features that are not centred are all close to 1, and a few directions of large variance decide the rest.
After whitening every direction that is kept counts the same. The statistics need no labels.

The limits were chosen by k-NN within the train images of CIFAR-10 (docs/log.md): 512 directions lose little to the best
number for raw pixels (128) and for features of patches (1,024), and with few examples a quarter of their number is near
the best. As many directions as examples would put all examples at one distance from each other.
"""

from typing import NamedTuple

import torch
from torch import Tensor

MOST_ROWS = 20_000  # examples that callers take the statistics from, at most
MOST_DIRECTIONS = 512
EXAMPLES_EACH = 4  # examples for every direction that is kept, at least
FLOOR = 1e-4  # of the largest variance of a direction: below it lie float32's rounding and noise
_ROUNDING = 1e-6  # of the length of a feature vector: a standard deviation below it is rounding, not signal
_EXACT = 1024  # directions found by a full decomposition; of more, only the largest are looked for
_ITERATIONS = 4  # of the subspace; two more change no probe by a tenth of a point
_SPARE = 64  # directions looked for beyond those that are kept, which makes the kept ones exact


class Whitening(NamedTuple):
    """The affine map that whitens features of D dimensions into d.

    Attributes:
        mean: (D,) float32.
        projection: (D, d) float32; each column is a direction divided by its standard deviation, largest one first.
    """

    mean: Tensor
    projection: Tensor

    def apply(self, features: Tensor) -> Tensor:
        """The whitened features (N, d) float32 of features (N, D) of any float dtype."""
        with torch.no_grad(), torch.autocast(features.device.type, enabled=False):
            return (features.float() - self.mean) @ self.projection


def fit_whitening(features: Tensor, *, most: int = MOST_DIRECTIONS, floor: float = FLOOR) -> Whitening:
    """The whitening of the principal directions of features; their covariance becomes the identity.

    Args:
        features: (N, D) of any float dtype, finite. Callers pass at most :data:`MOST_ROWS` rows.
        most: the largest number of directions to keep.
        floor: the smallest variance of a direction that is kept, as a share of the largest, in (0, 1).

    Returns:
        The mean and a projection to d directions; d is at most ``most``, D and a quarter of N, and 0 if all rows are
        equal.
    """
    with torch.no_grad(), torch.autocast(features.device.type, enabled=False):
        mean = features.float().mean(dim=0)
        x = features.float() - mean
        most = min(most, max(1, len(x) // EXAMPLES_EACH))
        if len(x) < x.shape[1]:  # the same directions from the smaller matrix
            variances, left = principal(x @ x.T / len(x), most)
            directions = x.T @ left / (len(x) * variances.clamp_min(torch.finfo(x.dtype).tiny)).sqrt()
        else:
            variances, directions = principal(x.T @ x / len(x), most)
        noise = _ROUNDING**2 * float(mean.square().sum())
        kept = (variances > floor * variances[0]) & (variances > noise)
        return Whitening(mean, directions[:, kept] / variances[kept].sqrt())


def principal(symmetric: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """The largest eigenvalues (k,), falling, and their eigenvectors (n, k) of a positive matrix (n, n).

    Of many directions only the largest are looked for, by subspace iteration (Halko et al. 2011,
    doi:10.1137/090771806). The last ones are then mixed with others of about the same variance.

    Args:
        symmetric: a covariance (n, n) of any float dtype.
        most: the largest number k of directions.
    """
    n = len(symmetric)
    if n <= max(_EXACT, most + _SPARE):
        values, vectors = torch.linalg.eigh(symmetric.double())
        return values.flip(0)[:most].float(), vectors.flip(1)[:, :most].float()
    random = torch.Generator(symmetric.device).manual_seed(0)
    basis = torch.randn(n, most + _SPARE, generator=random, device=symmetric.device, dtype=symmetric.dtype)
    for _ in range(_ITERATIONS):
        basis = torch.linalg.qr(symmetric @ basis)[0]
    values, turn = torch.linalg.eigh(basis.T @ (symmetric @ basis))
    return values.flip(0)[:most].float(), (basis @ turn.flip(1)[:, :most]).float()
