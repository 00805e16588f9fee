"""Contrastive losses against the papers' equations as slow loops, hand-solved cases, and lightly's."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from selfstudy.ops.contrastive import (
    decoupled_contrastive,
    info_nce,
    info_nce_in_batch,
    nt_xent,
    supervised_contrastive,
)


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


def slow_info_nce_in_batch(q: Tensor, k: Tensor, t: float) -> float:
    """MoCo v3 eq. 1, query by query, and NNCLR eq. 3."""
    total = 0.0
    for i in range(len(q)):
        total -= math.log(math.exp(_cos(q[i], k[i]) / t) / sum(math.exp(_cos(q[i], other) / t) for other in k))
    return total / len(q)


def slow_decoupled(z: Tensor, t: float, sigma: float = math.inf) -> float:
    """DCL eq. 6 and 7: every view of every image against the views of the others."""
    n, total = len(z) // 2, 0.0
    agreements = [math.exp(_cos(z[i], z[i + n]) / sigma) for i in range(n)]
    for a in range(2 * n):
        i = a % n
        weight = 2 - agreements[i] / (sum(agreements) / n)
        others = sum(math.exp(_cos(z[a], z[b]) / t) for b in range(2 * n) if b % n != i)
        total += -weight * _cos(z[i], z[i + n]) / t + math.log(others)
    return total / (2 * n)


def slow_supervised(z: Tensor, labels: list[int], t: float) -> float:
    """SupCon eq. 2 (L_out): P(i) are the other views with the class of anchor i, A(i) all other views."""
    total, classes = 0.0, labels * (len(z) // len(labels))
    for i in range(len(z)):
        others = [a for a in range(len(z)) if a != i]
        positives = [p for p in others if classes[p] == classes[i]]
        denominator = sum(math.exp(_cos(z[i], z[a]) / t) for a in others)
        logs = [math.log(math.exp(_cos(z[i], z[p]) / t) / denominator) for p in positives]
        total -= sum(logs) / len(positives)
    return total / len(z)


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
    """MoCo must not push its keys before the loss."""
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


@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_info_nce_in_batch_is_the_papers_equation(temperature):
    q, k = _random(7, 5), _random(7, 5, seed=1)
    assert float(info_nce_in_batch(q, k, temperature)) == pytest.approx(
        slow_info_nce_in_batch(q, k, temperature), rel=1e-9
    )


def test_info_nce_in_batch_by_hand():
    """Own key at cosine 1, the two others at 0: -ln(e / (e + 2))."""
    loss = info_nce_in_batch(torch.eye(3), 5 * torch.eye(3), 1.0)
    assert float(loss) == pytest.approx(-math.log(math.e / (math.e + 2)), rel=1e-6)


def test_info_nce_in_batch_ties_row_to_row_but_does_not_see_their_order_or_scale():
    q, k = _random(7, 5), _random(7, 5, seed=1)
    value, order = float(info_nce_in_batch(q, k, 0.3)), torch.tensor([3, 1, 0, 2, 6, 5, 4])
    assert float(info_nce_in_batch(2 * q[order], 9 * k[order], 0.3)) == pytest.approx(value, rel=1e-9)
    assert float(info_nce_in_batch(q, k[order], 0.3)) != pytest.approx(value, rel=1e-3)


def test_info_nce_in_batch_of_equal_embeddings_is_its_chance_value():
    assert float(info_nce_in_batch(torch.ones(6, 3), torch.ones(6, 3), 0.2)) == pytest.approx(math.log(6), rel=1e-6)


@pytest.mark.parametrize("sigma", [math.inf, 2.0, 0.5])
def test_decoupled_contrastive_is_the_papers_equation(sigma):
    z = _random(12, 5)
    assert float(decoupled_contrastive(z, 0.2, sigma)) == pytest.approx(slow_decoupled(z, 0.2, sigma), rel=1e-9)


def test_decoupled_contrastive_by_hand():
    """Equal views of two orthogonal images: -1 for the pair, ln of two terms e^0 for the others."""
    z = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    assert float(decoupled_contrastive(z, 1.0)) == pytest.approx(-1 + math.log(2), rel=1e-6)


def test_the_weights_by_hand_pull_less_on_the_pair_that_agrees():
    """Cosines 1 and 0, sigma 1: weights 2 - 2 e / (e + 1) and 2 - 2 / (e + 1), of which only the first counts."""
    z = torch.tensor([[1.0, 0, 0], [0, 1.0, 0], [1.0, 0, 0], [0, 0, 1.0]], dtype=torch.float64)
    weighted, plain = decoupled_contrastive(z, 1.0, 1.0), decoupled_contrastive(z, 1.0)
    assert float(weighted - plain) == pytest.approx((1 - (2 - 2 * math.e / (math.e + 1))) / 2, rel=1e-9)


def test_the_weights_carry_no_gradient():
    """The gradient is that of the equation with the weights as constants."""
    z = _random(8, 5).requires_grad_(True)
    (gradient,) = torch.autograd.grad(decoupled_contrastive(z, 0.5, 0.3), z)
    own = torch.nn.functional.cosine_similarity(z[:4], z[4:]).detach()
    weights = 2 - 4 * torch.softmax(own / 0.3, dim=0)
    pairs = torch.nn.functional.cosine_similarity(z[:4], z[4:])
    difference = decoupled_contrastive(z, 0.5) + ((1 - weights) * pairs).mean() / 0.5
    torch.testing.assert_close(gradient, torch.autograd.grad(difference, z)[0])


def test_decoupled_contrastive_pulls_on_a_close_pair_where_nt_xent_hardly_does():
    """One view leaves its image for an empty direction: eq. 6 loses the cosine's part, 2 / 8 of it over T."""
    z = torch.eye(5, dtype=torch.float64)[[0, 1, 2, 3, 0, 1, 2, 3]]
    moved = z.clone()
    moved[4, 4] = 0.1
    pull = [float(loss(moved, 0.05) - loss(z, 0.05)) for loss in (decoupled_contrastive, nt_xent)]
    assert pull[0] == pytest.approx(2 / 8 * (1 - 1.01**-0.5) / 0.05, rel=1e-6) and abs(pull[1]) < 1e-6


def test_decoupled_contrastive_of_equal_embeddings_is_its_chance_value():
    assert float(decoupled_contrastive(torch.ones(12, 3), 0.2)) == pytest.approx(math.log(10), rel=1e-6)


@pytest.mark.parametrize("sigma", [math.inf, 0.5])
def test_decoupled_contrastive_does_not_see_scale_rotation_or_the_order_of_images(sigma):
    z, order = _random(12, 4), torch.tensor([2, 0, 1, 5, 3, 4])
    value = float(decoupled_contrastive(z, 0.3, sigma))
    rotation = torch.linalg.qr(_random(4, 4, seed=3)).Q
    assert float(decoupled_contrastive(7 * z @ rotation, 0.3, sigma)) == pytest.approx(value, rel=1e-9)
    shuffled = torch.cat([z[6:][order], z[:6][order]])  # and the two views swapped
    assert float(decoupled_contrastive(shuffled, 0.3, sigma)) == pytest.approx(value, rel=1e-9)


@pytest.mark.parametrize("labels", [[0, 1, 0, 2, 1, 0], [4, 4, 4, 4, 4, 4], [5, 3, 1, 0, 2, 4]])
@pytest.mark.parametrize("views", [2, 3])
def test_supervised_contrastive_is_the_papers_equation(labels, views):
    z = _random(6 * views, 5)
    loss = supervised_contrastive(z, torch.tensor(labels), 0.2)
    assert float(loss) == pytest.approx(slow_supervised(z, labels, 0.2), rel=1e-9)


def test_supervised_contrastive_by_hand():
    """Two equal images of a class, orthogonal to the third: ln(3 e + 2) - 1 for four anchors, ln(e + 4) - 1 for two."""
    z = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]] * 2)
    wanted = (4 * math.log(3 * math.e + 2) + 2 * math.log(math.e + 4)) / 6 - 1
    assert float(supervised_contrastive(z, torch.tensor([7, 7, 1]), 1.0)) == pytest.approx(wanted, rel=1e-6)


def test_supervised_contrastive_is_nt_xent_when_no_class_comes_twice():
    z = _random(12, 5)
    loss = supervised_contrastive(z, torch.tensor([5, 3, 1, 0, 2, 4]), 0.2)
    assert float(loss) == pytest.approx(float(nt_xent(z, 0.2)), rel=1e-9)


def test_supervised_contrastive_depends_on_classes_but_not_on_their_names_or_the_order_of_images():
    z, labels = _random(12, 5), torch.tensor([0, 1, 0, 2, 1, 0])
    value = float(supervised_contrastive(z, labels, 0.2))
    order = torch.tensor([2, 0, 1, 5, 3, 4])
    shuffled = torch.cat([z[:6][order], z[6:][order]])
    assert float(supervised_contrastive(shuffled, labels[order], 0.2)) == pytest.approx(value, rel=1e-9)
    assert float(supervised_contrastive(z, 10 - labels, 0.2)) == pytest.approx(value, rel=1e-9)
    assert float(supervised_contrastive(z, labels.flip(0), 0.2)) != pytest.approx(value, rel=1e-3)


def test_supervised_contrastive_of_equal_embeddings_is_its_chance_value():
    loss = supervised_contrastive(torch.ones(12, 3), torch.tensor([0, 0, 0, 1, 1, 2]), 0.2)
    assert float(loss) == pytest.approx(math.log(11), rel=1e-6)


def test_the_gradient_of_supervised_contrastive_is_finite():
    z = _random(8, 4).requires_grad_(True)
    (gradient,) = torch.autograd.grad(supervised_contrastive(z, torch.tensor([0, 0, 1, 2]), 0.01), z)
    assert torch.isfinite(gradient).all() and gradient.abs().sum() > 0


@pytest.mark.filterwarnings("ignore:To copy construct:UserWarning")  # lightly's weights
@pytest.mark.parametrize("sigma", [math.inf, 0.5])
def test_decoupled_contrastive_equals_lightlys(sigma):
    """lightly averages the two directions, as eq. 6 summed over k does."""
    lightly = pytest.importorskip("lightly.loss")
    z = _random(16, 6)
    theirs = lightly.DCLLoss(0.3) if sigma == math.inf else lightly.DCLWLoss(0.3, sigma)
    assert float(decoupled_contrastive(z, 0.3, sigma)) == pytest.approx(float(theirs(z[:8], z[8:])), rel=1e-6)


def test_losses_stay_in_float32_under_autocast():
    with torch.autocast("cpu", torch.bfloat16):
        z = torch.nn.functional.linear(torch.randn(8, 4), torch.randn(4, 4))
        assert z.dtype == torch.bfloat16
        assert nt_xent(z, 0.1).dtype == info_nce(z, z, z, 0.1).dtype == torch.float32
        assert info_nce_in_batch(z, z, 0.1).dtype == decoupled_contrastive(z, 0.1, 0.5).dtype == torch.float32
        assert supervised_contrastive(z, torch.tensor([0, 1, 1, 0]), 0.1).dtype == torch.float32
