"""The weight of the layout: the operator on plain numbers, and its choice on features whose answer is known."""

import numpy as np
import pytest
import torch

from selfstudy.ops import layout
from selfstudy.ops.layout import SHARES, best_share, components, standard_weights, whitening_map

CELLS, GROUPS = 4, 6


def _features(count=4000, *, seed=0):
    """Centred features (n, G * c): a common part of each group, and differences between its cells."""
    random = torch.Generator().manual_seed(seed)
    common = torch.randn(count, GROUPS, 1, generator=random) * torch.linspace(1, 3, GROUPS)[:, None]
    rest = torch.randn(count, GROUPS, CELLS, generator=random)
    features = (common + rest).flatten(1)
    return features - features.mean(dim=0)


def test_weighted_means_have_variance_one_and_differences_the_square_of_the_share():
    features = _features()
    weights = standard_weights(features.T @ features / len(features), CELLS, 0.3)
    weighted = weights(features).reshape(-1, GROUPS, CELLS)
    means = weighted.mean(dim=2)
    # the direction of equal cells has length sqrt(c)
    np.testing.assert_allclose((means * CELLS**0.5).var(dim=0), 1, rtol=0.02)
    rest = (weighted - means[:, :, None]).square().sum(dim=2).mean(dim=0) / (CELLS - 1)
    np.testing.assert_allclose(rest, 0.3**2, rtol=0.02)


def test_the_operator_is_symmetric():
    features = _features(200)
    weights = standard_weights(features.T @ features / 200, CELLS, 0.15)
    matrix = weights(torch.eye(GROUPS * CELLS))
    torch.testing.assert_close(matrix, matrix.T)


def test_components_are_those_of_the_weighted_features():
    features = _features()
    covariance = features.T @ features / len(features)
    weights = standard_weights(covariance, CELLS, 0.6)
    values, to = components(covariance, weights, 5)
    found = features @ to
    np.testing.assert_allclose(found.T @ found / len(features), torch.diag(values), atol=1e-3)
    wanted = np.linalg.eigvalsh(np.cov(weights(features).T.double().numpy(), bias=True))[::-1][:5]
    np.testing.assert_allclose(values, wanted, rtol=1e-3)


@pytest.mark.parametrize(("moves", "wanted"), [(True, SHARES[0]), (False, SHARES[-1])])
def test_a_layout_that_crops_change_gets_the_smallest_weight_and_one_that_they_keep_the_largest(
    monkeypatch, moves, wanted
):
    monkeypatch.setattr(layout, "_JUDGED", GROUPS)  # of all directions, every weight would give the same cosines
    first, other = _features(seed=0), _features(seed=1)
    groups = [one.reshape(-1, GROUPS, CELLS) for one in (first, other)]
    means = [one.mean(dim=2, keepdim=True) for one in groups]
    rest = [one - mean for one, mean in zip(groups, means, strict=True)]
    # crops keep the means and change the differences, or the other way round
    second = means[0] + rest[1] if moves else means[1] + rest[0]
    covariance = first.T @ first / len(first)
    assert best_share(covariance, CELLS, (first, second.flatten(1))) == wanted


def test_one_cell_has_no_layout():
    assert best_share(torch.eye(3), 1, (torch.zeros(0, 3), torch.zeros(0, 3))) == 1.0


def test_the_map_softens_variances_and_keeps_their_order():
    features = _features()
    covariance = features.T @ features / len(features)
    to, kept = whitening_map(covariance, CELLS, 0.3, GROUPS * CELLS)
    variances = (features @ to).var(dim=0)
    assert (variances.diff() < 1e-3).all() and kept == pytest.approx(1, abs=0.01)
    values, _ = components(covariance, standard_weights(covariance, CELLS, 0.3), GROUPS * CELLS)
    np.testing.assert_allclose(variances, values**0.3, rtol=0.01)
