"""Agreement of directions against the papers' equations as slow loops, hand-solved cases, and lightly's."""

import pytest
import torch
from torch import Tensor

from selfstudy.ops.alignment import negative_cosine, normalized_mse


def _random(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def slow_negative_cosine(first: Tensor, second: Tensor) -> float:
    """SimSiam eq. 1, row by row."""
    cosines = [float(a @ b / (a.norm() * b.norm())) for a, b in zip(first, second, strict=True)]
    return -sum(cosines) / len(cosines)


def slow_normalized_mse(first: Tensor, second: Tensor) -> float:
    """BYOL eq. 2, row by row, as a squared distance."""
    distances = [float((a / a.norm() - b / b.norm()).square().sum()) for a, b in zip(first, second, strict=True)]
    return sum(distances) / len(distances)


def test_negative_cosine_is_the_papers_equation():
    a, b = _random(7, 5), _random(7, 5, seed=1)
    assert float(negative_cosine(a, b)) == pytest.approx(slow_negative_cosine(a, b), rel=1e-9)


def test_normalized_mse_is_the_papers_equation():
    a, b = _random(7, 5), _random(7, 5, seed=1)
    assert float(normalized_mse(a, b)) == pytest.approx(slow_normalized_mse(a, b), rel=1e-9)


def test_by_hand_equal_opposite_and_right_angled_directions():
    a = torch.tensor([[3.0, 0.0]])
    for b, cosine in (([[5.0, 0.0]], 1.0), ([[-2.0, 0.0]], -1.0), ([[0.0, 4.0]], 0.0)):
        assert float(negative_cosine(a, torch.tensor(b))) == pytest.approx(-cosine)
        assert float(normalized_mse(a, torch.tensor(b))) == pytest.approx(2 - 2 * cosine)


def test_directions_alone_count_and_a_common_rotation_does_not():
    a, b = _random(6, 4), _random(6, 4, seed=1)
    rotation = torch.linalg.qr(_random(4, 4, seed=3)).Q
    length = torch.arange(1.0, 7)[:, None]
    value = float(negative_cosine(a, b))
    assert float(negative_cosine(length * a @ rotation, 7 * b @ rotation)) == pytest.approx(value, rel=1e-9)


def test_more_axes_are_more_rows():
    a, b = _random(3, 4, 5), _random(3, 4, 5, seed=1)
    assert float(negative_cosine(a, b)) == pytest.approx(slow_negative_cosine(a.view(12, 5), b.view(12, 5)), rel=1e-9)


def test_losses_stay_in_float32_for_half_precision():
    z = torch.randn(8, 4).to(torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        assert negative_cosine(z, z).dtype == normalized_mse(z, z).dtype == torch.float32


def test_negative_cosine_equals_lightlys():
    lightly = pytest.importorskip("lightly.loss")
    a, b = _random(8, 6), _random(8, 6, seed=1)
    theirs = lightly.NegativeCosineSimilarity()(a, b)
    assert float(negative_cosine(a, b)) == pytest.approx(float(theirs), rel=1e-6)
