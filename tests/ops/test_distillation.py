"""Losses of self-distillation against the papers' equations as slow loops, cases solved by hand, and lightly's."""

import math

import pytest
import torch
from torch import Tensor

from selfstudy.ops.distillation import dino_loss, entropy, ibot_loss, koleo, output_count


def _random(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def _probabilities(*shape, seed=1):
    return torch.softmax(_random(*shape, seed=seed), dim=-1)


def slow_dino(student: Tensor, targets: Tensor, t: float) -> float:
    """DINO eq. 3: every pair of different views, image by image."""
    losses = []
    for g in range(len(targets)):
        for v in range(len(student)):
            if g != v:
                for b in range(student.shape[1]):
                    p = torch.softmax(student[v, b] / t, 0)
                    losses.append(-float((targets[g, b] * p.log()).sum()))
    return sum(losses) / len(losses)


def slow_ibot(student: Tensor, targets: Tensor, mask: Tensor, t: float) -> float:
    """iBOT's L_MIM, patch by patch: ``student`` and ``targets`` are those of all patches (B, N, K)."""
    total = 0.0
    for b in range(len(mask)):
        losses = [
            -float((targets[b, n] * torch.softmax(student[b, n] / t, 0).log()).sum())
            for n in range(mask.shape[1])
            if mask[b, n]
        ]
        total += sum(losses) / len(losses) if losses else 0.0
    return total / len(mask)


def slow_koleo(x: Tensor) -> float:
    """KoLeo: minus the mean log distance to the nearest other unit vector."""
    unit = [row / row.norm() for row in x]
    nearest = [min(float((a - b).norm()) for j, b in enumerate(unit) if j != i) for i, a in enumerate(unit)]
    return -sum(math.log(distance) for distance in nearest) / len(unit)


MASK = torch.tensor([[1, 0, 1, 1], [0, 0, 0, 0], [0, 1, 0, 0]], dtype=torch.bool)


def test_dino_is_the_papers_equation_over_all_pairs_of_different_views():
    student, targets = _random(5, 3, 7), _probabilities(2, 3, 7)
    assert float(dino_loss(student, targets, 0.1)) == pytest.approx(slow_dino(student, targets, 0.1), rel=1e-9)


def test_dino_of_a_uniform_student_is_ln_k():
    uniform = torch.zeros(4, 3, 7, dtype=torch.float64)
    assert float(dino_loss(uniform, _probabilities(2, 3, 7), 0.1)) == pytest.approx(math.log(7), rel=1e-9)


def test_dino_equals_lightlys():
    lightly = pytest.importorskip("lightly.loss")
    student, teacher = _random(5, 3, 7, dtype=torch.float32), _random(2, 3, 7, seed=1, dtype=torch.float32)
    theirs = lightly.DINOLoss(output_dim=7, teacher_temp=0.04)(list(teacher), list(student))
    ours = dino_loss(student, torch.softmax(teacher / 0.04, dim=-1), 0.1)
    assert float(ours) == pytest.approx(float(theirs), rel=1e-6)


def test_ibot_is_the_papers_equation_averaged_per_image_and_then_over_all_images():
    student, targets = _random(3, 4, 7), _probabilities(3, 4, 7)
    fast = ibot_loss(student[MASK], targets[MASK], MASK, 0.1)
    assert float(fast) == pytest.approx(slow_ibot(student, targets, MASK, 0.1), rel=1e-9)


def test_ibot_by_hand():
    """Two of three images have a mask, and each patch costs ln K, independent of their numbers."""
    uniform, targets = torch.zeros(4, 5, dtype=torch.float64), _probabilities(4, 5)
    assert float(ibot_loss(uniform, targets, MASK, 0.1)) == pytest.approx(math.log(5) * 2 / 3, rel=1e-9)


def test_ibot_without_any_hidden_patch_is_zero():
    nothing = torch.zeros(3, 4, dtype=torch.bool)
    assert float(ibot_loss(torch.zeros(0, 5), torch.zeros(0, 5), nothing, 0.1)) == 0


def test_ibot_equals_lightlys():
    lightly = pytest.importorskip("lightly.loss")
    mask = MASK.view(3, 2, 2)
    student, teacher = (_random(3, 4, 7, seed=seed, dtype=torch.float32)[MASK] for seed in (0, 1))
    theirs = lightly.IBOTPatchLoss(output_dim=7, teacher_temp=0.04)(teacher, student, mask)
    ours = ibot_loss(student, torch.softmax(teacher / 0.04, dim=-1), MASK, 0.1)
    assert float(ours) == pytest.approx(float(theirs), rel=1e-6)


def test_koleo_is_the_papers_equation_on_unit_vectors():
    x = _random(9, 5)
    assert float(koleo(x)) == pytest.approx(slow_koleo(x), rel=1e-6)


def test_koleo_by_hand():
    """Two opposite points are 2 apart; four at right angles have a neighbour at the square root of 2."""
    opposite = torch.tensor([[3.0, 0.0], [-1.0, 0.0]], dtype=torch.float64)
    assert float(koleo(opposite)) == pytest.approx(-math.log(2), rel=1e-6)
    square = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]], dtype=torch.float64)
    assert float(koleo(square)) == pytest.approx(-math.log(2) / 2, rel=1e-6)


def test_koleo_does_not_see_length_rotation_or_order():
    x = _random(8, 4)
    rotation = torch.linalg.qr(_random(4, 4, seed=3)).Q
    assert float(koleo((7 * x @ rotation).flip(0))) == pytest.approx(float(koleo(x)), rel=1e-6)


def test_koleo_pushes_the_nearest_neighbours_apart():
    x = torch.tensor([[1.0, 0.1], [1.0, -0.1], [-1.0, 0.0]], requires_grad=True)
    koleo(x).backward()
    assert x.grad[0, 1] < 0 < x.grad[1, 1]


def test_koleo_of_equal_embeddings_is_large_and_finite():
    x = torch.ones(4, 3, requires_grad=True)
    loss = koleo(x)
    loss.backward()
    assert 10 < float(loss.detach()) < 40 and torch.isfinite(x.grad).all()


def test_koleo_equals_lightlys():
    lightly = pytest.importorskip("lightly.loss")
    x = _random(9, 5)
    assert float(koleo(x)) == pytest.approx(float(lightly.KoLeoLoss()(x)), rel=1e-6)


def test_entropy_by_hand():
    rows = torch.tensor([[0.25, 0.25, 0.25, 0.25], [1.0, 0.0, 0.0, 0.0]])
    assert float(entropy(rows)) == pytest.approx(math.log(4) / 2, rel=1e-6)


@pytest.mark.parametrize(
    ("images", "seen", "outputs"), [(2, 2, 512), (50_000, 83_200, 512), (50_000, 10**7, 4096), (10**8, 10**9, 65536)]
)
def test_the_number_of_outputs_follows_images_and_views(images, seen, outputs):
    assert output_count(images, seen) == outputs


def test_losses_stay_in_float32_for_half_precision():
    z, targets = torch.randn(4, 2, 5).to(torch.bfloat16), _probabilities(2, 2, 5).float()
    with torch.autocast("cpu", torch.bfloat16):
        assert dino_loss(z, targets, 0.1).dtype == koleo(z[0]).dtype == torch.float32
        assert ibot_loss(z[0], targets[0], torch.ones(2, 1, dtype=torch.bool), 0.1).dtype == torch.float32
