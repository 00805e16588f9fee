"""Sinkhorn's assignments against the paper's iteration as a slow loop, cases solved by hand, and lightly's."""

import pytest
import torch

from selfstudy.ops.sinkhorn import sinkhorn


def _scores(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def slow_sinkhorn(scores, epsilon, iterations):
    """Columns to 1/K, then rows to 1/B, entry by entry; rows times B at the end."""
    batch, outputs = scores.shape
    q = [[float((scores[i, k] / epsilon).exp()) for k in range(outputs)] for i in range(batch)]
    for _ in range(iterations):
        columns = [sum(q[i][k] for i in range(batch)) for k in range(outputs)]
        q = [[q[i][k] / columns[k] / outputs for k in range(outputs)] for i in range(batch)]
        rows = [sum(q[i]) for i in range(batch)]
        q = [[q[i][k] / rows[i] / batch for k in range(outputs)] for i in range(batch)]
    return torch.tensor([[value * batch for value in row] for row in q], dtype=torch.float64)


def test_sinkhorn_is_the_papers_iteration():
    scores = _scores(7, 4)
    torch.testing.assert_close(sinkhorn(scores, 0.3, 3), slow_sinkhorn(scores, 0.3, 3), rtol=1e-9, atol=0)


def test_rows_are_probabilities_and_columns_are_used_equally():
    q = sinkhorn(_scores(40, 5), 0.5, 50)
    torch.testing.assert_close(q.sum(dim=1), torch.ones(40, dtype=torch.float64))
    torch.testing.assert_close(q.sum(dim=0), torch.full((5,), 8.0, dtype=torch.float64))


def test_by_hand_two_images_that_prefer_the_same_prototype_share_both():
    """Equal rows must split evenly whatever they prefer."""
    torch.testing.assert_close(sinkhorn(torch.tensor([[5.0, 0.0], [5.0, 0.0]]), 1.0, 3), torch.full((2, 2), 0.5))


def test_a_preference_of_one_prototype_for_everyone_changes_nothing():
    scores = _scores(6, 3)
    torch.testing.assert_close(sinkhorn(scores + torch.tensor([3.0, 0, -2]), 0.5, 3), sinkhorn(scores, 0.5, 3))


def test_a_tiny_epsilon_does_not_overflow():
    assert torch.isfinite(sinkhorn(100 * _scores(6, 3).float(), 0.01, 3)).all()


def test_sinkhorn_equals_lightlys():
    lightly = pytest.importorskip("lightly.loss.swav_loss")
    scores = _scores(8, 5)
    theirs = lightly.sinkhorn(scores, iterations=3, epsilon=0.3)
    torch.testing.assert_close(sinkhorn(scores, 0.3, 3), theirs.to(torch.float64), rtol=1e-6, atol=0)
