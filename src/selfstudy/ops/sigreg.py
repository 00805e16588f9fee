"""The distance of a cloud of points from a standard Gaussian, along random directions."""

import torch
import torch.nn.functional as F
from torch import Tensor

from selfstudy.ops.distributed import gather, world_size
from selfstudy.ops.precision import full_precision


def unit_slices(dim: int, count: int, generator: torch.Generator) -> Tensor:
    """Random directions of length 1, uniform on the sphere: (D, S), on the generator's device.

    Args:
        dim: D, dimension of the space.
        count: S, number of directions.
        generator: source of the random numbers.
    """
    return F.normalize(torch.randn(dim, count, generator=generator, device=generator.device), dim=0)


@full_precision
def sigreg(projections: Tensor, slices: Tensor, *, knots: int = 17, limit: float = 3.0) -> Tensor:
    """The Epps-Pulley statistic against N(0, 1), averaged over directions.

    For one direction ``a`` it is ``N integral |phi_N(t) - exp(-t^2 / 2)|^2 exp(-t^2 / 2) dt`` over [-limit, limit],
    with ``phi_N(t)`` the mean of ``exp(i t <a, z>)`` over all N points of the global batch. The integrand is even, so
    the code takes twice the trapezoidal rule on ``knots`` equally spaced points of [0, limit]. For a Gaussian sample
    the expected value is 1.05 for any N; for N equal points it grows as 0.41 N or faster.

    Args:
        projections: (..., B, D) points; several clouds, such as several views, are tested separately and averaged.
        slices: (D, S) directions of length 1, the same in all processes.
        knots: number of points of the integration.
        limit: largest frequency t.

    Returns:
        () float32 (float64 for float64 input).

    Source: Balestriero & LeCun 2025, arXiv:2511.08544, algorithm 1, with the half-line and the limit of the authors'
    code (the printed algorithm has 17 points on [-5, 5]); Epps & Pulley 1983, doi:10.1093/biomet/70.3.723.
    """
    t = torch.linspace(0, limit, knots, dtype=projections.dtype, device=projections.device)  # (T,)
    gaussian = torch.exp(-t.square() / 2)
    angles = (projections @ slices.to(projections.dtype))[..., None] * t  # (..., B, S, T)
    waves = torch.stack([angles.cos().mean(dim=-3), angles.sin().mean(dim=-3)])  # (2, ..., S, T)
    real, imaginary = gather(waves[None]).mean(dim=0)  # every process holds the same share of the global batch
    distance = (real - gaussian).square() + imaginary.square()  # (..., S, T)
    points = projections.shape[-2] * world_size()
    return points * 2 * torch.trapezoid(distance * gaussian, t).mean()
