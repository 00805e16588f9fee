"""The linear probe: multinomial logistic regression on frozen, standardised features.

The objective is scikit-learn's: the sum of cross entropies plus l2 / 2 times the squared weights (``C = 1 / l2``), bias
not penalised. It is minimised by L-BFGS over all images at once, in coordinates u with W = L^-T u where L L^T is the
Hessian of a model whose probabilities are the same for every image. Features of trained encoders are strongly
correlated; in these coordinates the problem is nearly round, and 20 to 40 passes over the data do what takes hundreds
without.
"""

import time
from typing import NamedTuple

import torch
from torch import Tensor

from selfstudy.ops.random import permutation

L2_PATH = (1e5, 1e4, 1e3, 1e2, 1e1, 1e0, 1e-1)  # from strong to weak: each start is the solution before it
_HELD_OUT = 0.1
_PATH_ELEMENTS = 2**26  # above this many numbers (256 MiB of float32) the path is walked on part of the images
_CHUNK = 4096  # rows per pass: at 512 features a chunk is read from memory once and used twice from the cache
_JITTER = 1e-6  # of the largest eigenvalue a covariance of standardised features can have, which is D: float32's noise


class LinearResult(NamedTuple):
    """The outcome of a linear probe.

    Attributes:
        accuracy: on the test images, in percent.
        l2: the strength that was chosen; scikit-learn's ``C`` is its inverse.
        protocol: how the accuracy was measured.
        seconds: of computing, all in all.
    """

    accuracy: float
    l2: float
    protocol: str
    seconds: float


def linear_probe(
    train: Tensor, train_labels: Tensor, test: Tensor, test_labels: Tensor, *, seed: int = 0
) -> LinearResult:
    """Accuracy of the best linear classifier that train alone can choose; test is used once, at the end.

    Args:
        train: (N, D) float32 features.
        train_labels: (N,) int64, any values.
        test: (M, D) float32 features.
        test_labels: (M,) int64.
        seed: decides which tenth of train, of every class alike, chooses the L2 strength.
    """
    began = time.perf_counter()
    classes, targets = torch.unique(train_labels, return_inverse=True)
    with torch.no_grad(), torch.autocast(train.device.type, enabled=False):
        mean, scale = standardisation(train)
        x = design(train, mean, scale)  # (N, D + 1)
        part = permutation(len(x), seed)[: max(1, _PATH_ELEMENTS // x.shape[1])].to(x.device)
        covariance, start = covariance_of(x), x.new_zeros(x.shape[1], len(classes))
        l2, weights = _choose_l2(x[part], targets[part], start=start, covariance=covariance, seed=seed)
        weights = logistic_regression(x, targets, l2, start=weights, covariance=covariance)
        predictions = predict(test, mean, scale, weights)
    accuracy = 100.0 * float((classes[predictions] == test_labels).double().mean())
    protocol = linear_protocol(len(train), len(test), path_images=len(part), seed=seed)
    return LinearResult(accuracy, l2, protocol, time.perf_counter() - began)


def linear_protocol(n_train: int, n_test: int, *, path_images: int, seed: int) -> str:
    """How a linear accuracy was measured, for printing beside it; ``path_images`` of train chose the L2 strength."""
    held_out = "train" if path_images == n_train else f"{path_images:,} train images"
    return (
        f"linear: logistic regression, standardised frozen features, L2 of {len(L2_PATH)} values chosen on a held-out "
        f"{100 * _HELD_OUT:g} % of {held_out} (seed {seed}), final model, "
        f"{n_train:,} train / {n_test:,} test, test used once"
    )


def logistic_regression(x: Tensor, targets: Tensor, l2: float, *, start: Tensor, covariance: Tensor) -> Tensor:
    """Weights that minimise the sum of cross entropies plus l2 / 2 times the squared weights.

    Args:
        x: (N, D + 1) float32, standardised features and a last column of ones.
        targets: (N,) int64 in [0, K).
        l2: positive.
        start: (D + 1, K), where to begin.
        covariance: (D + 1, D + 1) of ``x``, or an estimate: it decides the speed, not the result.

    Returns:
        (D + 1, K) float32; the last row is the bias.
    """
    penalty = torch.full((x.shape[1], 1), l2 / len(x), device=x.device)
    penalty[-1] = 0.0
    probabilities = (x[:_CHUNK] @ start).softmax(dim=1)
    curvature = float((probabilities * (1 - probabilities)).mean().clamp_min(1e-3))
    factor = torch.linalg.cholesky(
        curvature * covariance + torch.diag(penalty[:, 0] + curvature * _JITTER * len(penalty))
    )
    u = factor.T @ start  # (D + 1, K)
    optimizer = torch.optim.LBFGS(
        [u], max_iter=100, history_size=10, tolerance_grad=1e-5, tolerance_change=1e-8, line_search_fn="strong_wolfe"
    )

    def evaluate() -> float:
        weights = torch.linalg.solve_triangular(factor.T, u, upper=True)
        loss, gradient = _mean_cross_entropy(x, targets, weights)
        u.grad = torch.linalg.solve_triangular(factor, gradient + penalty * weights, upper=False).contiguous()
        return loss + 0.5 * float((penalty * weights.square()).sum())

    with torch.no_grad():
        optimizer.step(evaluate)  # type: ignore[no-untyped-call]
        weights: Tensor = torch.linalg.solve_triangular(factor.T, u, upper=True)
    return weights


def _mean_cross_entropy(x: Tensor, targets: Tensor, weights: Tensor) -> tuple[float, Tensor]:
    """The mean cross entropy and its gradient (D + 1, K), written out: no graph over all images is kept."""
    loss, gradient = 0.0, torch.zeros_like(weights)
    for rows, wanted in zip(torch.split(x, _CHUNK), torch.split(targets[:, None], _CHUNK), strict=True):
        log_probabilities = (rows @ weights).log_softmax(dim=1)  # (n, K)
        loss -= float(log_probabilities.gather(1, wanted).sum())
        residual = log_probabilities.exp_()
        residual.scatter_add_(1, wanted, residual.new_full((1, 1), -1.0).expand_as(wanted))
        gradient.addmm_(rows.T, residual)
    return loss / len(x), gradient / len(x)


def _choose_l2(x: Tensor, targets: Tensor, *, start: Tensor, covariance: Tensor, seed: int) -> tuple[float, Tensor]:
    """The strength with the best held-out accuracy, the stronger one on a tie, and the weights it gave."""
    held_out = _held_out(targets, seed)
    fit, fit_targets = x[~held_out], targets[~held_out]
    weights, path = start, []
    for l2 in L2_PATH:
        weights = logistic_regression(fit, fit_targets, l2, start=weights, covariance=covariance)
        right = (x[held_out] @ weights).argmax(dim=1) == targets[held_out]
        path.append((int(right.sum()), l2, weights))
    _, l2, weights = max(path, key=lambda tried: tried[0])
    return l2, weights


def _held_out(targets: Tensor, seed: int) -> Tensor:
    """Mask (N,) of a tenth of every class, at least one image of a class that has two."""
    order = permutation(len(targets), seed, 1).to(targets.device)
    order = order[torch.argsort(targets[order], stable=True)]  # by class, random within it
    counts = torch.bincount(targets)
    starts = counts.cumsum(0) - counts
    rank = torch.arange(len(order), device=targets.device) - starts[targets[order]]
    wanted = (counts * _HELD_OUT).round().long().clamp_min(1) * (counts >= 2)
    mask = torch.zeros(len(targets), dtype=torch.bool, device=targets.device)
    mask[order] = rank < wanted[targets[order]]
    return mask


def standardisation(train: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (D,) and divisor (D,) of every feature; a constant one is only centred, its rounding noise not blown up."""
    mean, std = train.float().mean(dim=0), train.float().std(dim=0, correction=0)
    return mean, torch.where(std > 1e-6 * mean.abs(), std, torch.ones_like(std))


def design(features: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    """Standardised features with a column of ones for the bias: (N, D + 1) float32."""
    x = torch.ones(len(features), features.shape[1] + 1, device=features.device)
    torch.sub(features, mean, out=x[:, :-1])
    x[:, :-1] /= scale
    return x


def predict(features: Tensor, mean: Tensor, scale: Tensor, weights: Tensor) -> Tensor:
    """The class index (M,) int64 of features (M, D), by weights (D + 1, K) of what :func:`design` makes of them."""
    parts = torch.split(features, _CHUNK)
    return torch.cat([(design(part, mean, scale) @ weights).argmax(dim=1) for part in parts])


def covariance_of(x: Tensor) -> Tensor:
    """Uncentred covariance (D, D) of the columns of ``x`` (N, D), from enough evenly spaced rows to be of full rank."""
    rows = x[:: max(1, len(x) // max(4 * x.shape[1], 8192))]
    return rows.T @ rows / len(rows)
