"""Patches: what its filters see, and what its map keeps."""

import numpy as np
import pytest
import torch

from selfstudy.errors import UsageError
from selfstudy.methods import patches
from selfstudy.methods.patches import Patches
from tests.methods.solved_contract import Images, encoder_of

SMALL = {"sizes": (16, 12), "filters": (8, 12), "patch": 4, "dimensions": 6}


@pytest.fixture(autouse=True)
def _few_patches(monkeypatch):
    monkeypatch.setattr(patches, "_PATCHES", 2_000)


def _solved(read, **changes):
    config = Patches.Config(**SMALL | changes)
    method = Patches(encoder_of(Patches, config, read.images.shape[2:], read.images.shape[1]), config)
    for stage in range(len(method.stages)):
        method.solve(stage, read, seed=0)
    return method.encoder.network


def test_the_map_without_a_grid_gives_softened_components_of_standardised_features():
    read = Images(count=60)
    network = _solved(read, grid=1)
    features = network.features(read.images).double()
    standard = ((features - features.mean(dim=0)) / features.std(dim=0, correction=0)).numpy()
    _, lengths, directions = np.linalg.svd(standard, full_matrices=False)
    variances = lengths[:6] ** 2 / 60
    wanted = np.abs(standard @ directions[:6].T * variances**-0.35)
    np.testing.assert_allclose(network(read.images).abs().numpy(), wanted, atol=2e-3)


def test_the_first_numbers_are_the_embedding_with_fewer_dimensions():
    read = Images(count=60)
    torch.testing.assert_close(
        _solved(read)(read.images)[:, :3], _solved(read, dimensions=3)(read.images), atol=1e-4, rtol=1e-3
    )


def test_responses_to_patches_of_the_data_have_the_spread_that_the_threshold_asks_for():
    read = Images(count=60)
    for threshold in (0.5, 1.0):
        scale = _solved(read, threshold=threshold).working_sizes()[0]
        assert float(scale.responses(scale.resized(read.images)).std()) == pytest.approx(1 / threshold, rel=0.05)


def test_kernels_do_not_see_the_mean_of_a_patch():
    for scale in _solved(Images()).working_sizes():
        torch.testing.assert_close(scale.kernels.sum(dim=(1, 2, 3)), torch.zeros(len(scale.kernels)), atol=1e-4, rtol=0)


def test_a_brighter_or_paler_image_has_nearly_the_same_features():
    read = Images(count=60)
    network = _solved(read)
    plain, changed = network.features(read.images), network.features(read.images + 3)
    torch.testing.assert_close(plain, changed, atol=1e-3, rtol=1e-3)


def test_an_encoder_that_is_not_solved_is_refused():
    network = torch.nn.Flatten()
    network.embed_dim = 3
    with pytest.raises(UsageError, match="patches solves its own encoder, not Flatten\nleave the encoder out"):
        Patches(network).solve(0, Images(), seed=0)
