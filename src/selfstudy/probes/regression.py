"""Multinomial logistic regression on standardised features, solved over all examples at once.

The objective is scikit-learn's: the sum of cross entropies plus l2 / 2 times the squared weights (``C = 1 / l2``); the
bias is not penalised. It is minimised by L-BFGS in coordinates u with W = L^-T u, where L L^T is the Hessian of a model
whose probabilities are the same for every example. Features of trained encoders are strongly correlated. In these
coordinates the problem is nearly round: 20 to 40 passes over the data do what takes hundreds without them.
"""

import torch
from torch import Tensor

_CHUNK = 4096  # rows per pass: at 512 features a chunk is read from memory once and used twice from the cache
_JITTER = 1e-6  # of the largest eigenvalue a covariance of standardised features can have, which is D: float32's noise


def logistic_regression(x: Tensor, targets: Tensor, l2: float, *, start: Tensor, covariance: Tensor) -> Tensor:
    """Weights that minimise the sum of cross entropies plus l2 / 2 times the squared weights.

    Args:
        x: (N, D + 1) float32, standardised features and a last column of ones.
        targets: (N,) int64 in [0, K).
        l2: positive.
        start: (D + 1, K), the weights to begin with.
        covariance: (D + 1, D + 1), that of ``x`` or an estimate; it decides the speed, not the result.

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
        optimizer.step(evaluate)  # type: ignore[no-untyped-call]  # torch has no types here
        weights: Tensor = torch.linalg.solve_triangular(factor.T, u, upper=True)
    return weights


def few_examples_regression(x: Tensor, targets: Tensor, l2: float, classes: int) -> Tensor:
    """The weights of :func:`logistic_regression` for fewer examples than features, solved in N dimensions.

    Weights outside the span of the examples change no probability of theirs and cost a penalty, so the best ones lie
    within it.

    Args:
        x: (N, D + 1) float32, features and a last column of ones.
        targets: (N,) int64 in [0, classes).
        l2: positive.
        classes: the number of classes, K.

    Returns:
        (D + 1, K) float32; the last row is the bias.
    """
    basis = torch.linalg.qr(x[:, :-1].T).Q  # (D, N)
    turned = torch.cat([x[:, :-1] @ basis, x[:, -1:]], dim=1)  # (N, N + 1)
    start = turned.new_zeros(turned.shape[1], classes)
    weights = logistic_regression(turned, targets, l2, start=start, covariance=covariance_of(turned))
    return torch.cat([basis @ weights[:-1], weights[-1:]])


def _mean_cross_entropy(x: Tensor, targets: Tensor, weights: Tensor) -> tuple[float, Tensor]:
    """The mean cross entropy and its gradient (D + 1, K), written out, so that no graph over all rows is kept."""
    loss, gradient = 0.0, weights.new_zeros(weights.shape[1], weights.shape[0])
    for rows, wanted in zip(torch.split(x, _CHUNK), torch.split(targets[:, None], _CHUNK), strict=True):
        log_probabilities = (rows @ weights).log_softmax(dim=1)  # (n, K)
        loss -= float(log_probabilities.gather(1, wanted).sum())
        residual = log_probabilities.exp_()
        residual.scatter_add_(1, wanted, residual.new_full((1, 1), -1.0).expand_as(wanted))
        gradient.addmm_(residual.T, rows)  # the product with the wide side last is several times faster on CPUs
    return loss / len(x), gradient.T / len(x)


def standardisation(train: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (D,) and divisor (D,) of every feature; the divisor of a constant one is 1, as its noise is no signal."""
    mean, std = train.float().mean(dim=0), train.float().std(dim=0, correction=0)
    return mean, torch.where(std > 1e-6 * mean.abs(), std, torch.ones_like(std))


def design(features: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    """Standardised features with a column of ones for the bias: (N, D + 1) float32."""
    x = torch.ones(len(features), features.shape[1] + 1, device=features.device)
    torch.sub(features, mean, out=x[:, :-1])
    x[:, :-1] /= scale
    return x


def predict(features: Tensor, mean: Tensor, scale: Tensor, weights: Tensor) -> Tensor:
    """The class index (M,) int64 of features (M, D), by weights (D + 1, K)."""
    parts = torch.split(features, _CHUNK)
    return torch.cat([(design(part, mean, scale) @ weights).argmax(dim=1) for part in parts])


def covariance_of(x: Tensor) -> Tensor:
    """Uncentred covariance (D, D) of the columns of ``x`` (N, D), from enough evenly spaced rows to be of full rank."""
    rows = x[:: max(1, len(x) // max(4 * x.shape[1], 8192))]
    return rows.T @ rows / len(rows)
