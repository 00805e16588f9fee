"""Contrastive losses against the papers' equations as slow loops, hand-solved cases, and lightly's."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from selfstudy.ops.contrastive import info_nce, nt_xent


def _random(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def _cos(a: Tensor, b: Tensor) -> float:
    return float(a @ b / (a.norm() * b.norm()))


def slow_nt_xent(z: Tensor, t: float) -> float:
    """SimCLR eq. 1, anchor by anchor."""
    total, n = 0.0, len(z) // 2
    for i in range(2 * n):
        j = (i + n) % (2 * n)
        denominator = sum(math.exp(_cos(z[i], z[k]) / t) for k in range(2 * n) if k != i)
        total -= math.log(math.exp(_cos(z[i], z[j]) / t) / denominator)
    return total / (2 * n)


def slow_info_nce(q: Tensor, p: Tensor, negatives: Tensor, t: float) -> float:
    """MoCo eq. 1, query by query."""
    total = 0.0
    for i in range(len(q)):
        own = negatives[i] if negatives.ndim == 3 else negatives
        positive = math.exp(_cos(q[i], p[i]) / t)
        total -= math.log(positive / (positive + sum(math.exp(_cos(q[i], k) / t) for k in own)))
    return total / len(q)


@pytest.mark.parametrize("temperature", [0.1, 0.5, 1.0])
def test_nt_xent_is_the_papers_equation(temperature):
    z = _random(14, 5)
    assert float(nt_xent(z, temperature)) == pytest.approx(slow_nt_xent(z, temperature), rel=1e-9)


def test_nt_xent_by_hand():
    """Orthogonal images, equal views: one similarity of 1, two of 0, so -ln(e / (e + 2))."""
    z = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    assert float(nt_xent(z, 1.0)) == pytest.approx(-math.log(math.e / (math.e + 2)), rel=1e-6)


def test_nt_xent_of_equal_embeddings_is_its_chance_value():
    assert float(nt_xent(torch.ones(12, 3), 0.2)) == pytest.approx(math.log(11), rel=1e-6)


def test_nt_xent_does_not_see_scale_rotation_or_the_order_of_images():
    z = _random(12, 4)
    value = float(nt_xent(z, 0.3))
    rotation = torch.linalg.qr(_random(4, 4, seed=3)).Q
    order = torch.randperm(6, generator=torch.Generator().manual_seed(1))
    assert float(nt_xent(7 * z @ rotation, 0.3)) == pytest.approx(value, rel=1e-9)
    assert float(nt_xent(torch.cat([z[:6][order], z[6:][order]]), 0.3)) == pytest.approx(value, rel=1e-9)


@pytest.mark.parametrize("shape", [(9, 5), (6, 9, 5)])
def test_info_nce_is_the_papers_equation_with_shared_or_own_negatives(shape):
    q, p, n = _random(6, 5), _random(6, 5, seed=1), _random(*shape, seed=2)
    assert float(info_nce(q, p, n, 0.2)) == pytest.approx(slow_info_nce(q, p, n, 0.2), rel=1e-9)


def test_info_nce_by_hand():
    q = torch.tensor([[1.0, 0.0]])
    loss = info_nce(q, q, torch.tensor([[0.0, 1.0], [0.0, -1.0]]), 1.0)
    assert float(loss) == pytest.approx(-math.log(math.e / (math.e + 2)), rel=1e-6)


def test_a_positive_among_the_negatives_would_change_the_loss():
    """What MoCo must not do: push its keys before the loss."""
    q, p, n = _random(4, 5), _random(4, 5, seed=1), _random(9, 5, seed=2)
    assert float(info_nce(q, p, torch.cat([n, p]), 0.2)) > float(info_nce(q, p, n, 0.2)) + 0.01


def test_nt_xent_equals_lightlys():
    lightly = pytest.importorskip("lightly.loss")
    z = _random(16, 6)
    theirs = lightly.NTXentLoss(temperature=0.3)(z[:8], z[8:])
    assert float(nt_xent(z, 0.3)) == pytest.approx(float(theirs), rel=1e-6)


def test_info_nce_equals_lightlys_memory_bank_loss():
    """lightly calls it NTXentLoss with a memory bank; its bank holds columns."""
    lightly = pytest.importorskip("lightly.loss")
    bank = lightly.NTXentLoss(temperature=0.3, memory_bank_size=(20, 6))
    q, p = _random(8, 6, dtype=torch.float32), _random(8, 6, seed=1, dtype=torch.float32)
    bank(q, p)
    negatives = bank.memory_bank.bank.clone()
    negatives = negatives if negatives.shape[1] == 6 else negatives.T
    ours = info_nce(q, p, normalize(negatives, dim=1), 0.3)
    assert float(ours) == pytest.approx(float(bank(q, p)), rel=1e-5)


def test_losses_stay_in_float32_under_autocast():
    with torch.autocast("cpu", torch.bfloat16):
        z = torch.nn.functional.linear(torch.randn(8, 4), torch.randn(4, 4))
        assert z.dtype == torch.bfloat16
        assert nt_xent(z, 0.1).dtype == info_nce(z, z, z, 0.1).dtype == torch.float32
