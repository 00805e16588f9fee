"""Patches and filters: places, whitening, units, and data that have none."""

import pytest
import torch

from selfstudy.errors import DataError
from selfstudy.ops.patch_filters import cut_patches, whitened_filters

SETTINGS = {"smoothing": 0.1, "threshold": 0.7}


def _random():
    return torch.Generator().manual_seed(0)


def test_patches_are_parts_of_their_own_image():
    images = torch.arange(2 * 3 * 5 * 7).float().reshape(2, 3, 5, 7)
    patches = cut_patches(images, 4, 10, _random())
    assert patches.shape == (20, 3, 4, 4)
    for number, patch in enumerate(patches):
        windows = images[number // 10].unfold(1, 4, 1).unfold(2, 4, 1).permute(1, 2, 0, 3, 4).flatten(0, 1)
        assert any(patch.equal(window) for window in windows)


def test_responses_are_in_units_of_the_threshold_and_see_no_brightness():
    patches = torch.randn(3000, 1, 4, 4, generator=_random()) + 5
    kernels, means, contrast = whitened_filters(patches, 8, **SETTINGS, random=_random())
    flat = patches.flatten(1)
    normal = (flat - flat.mean(1, keepdim=True)) / (flat.var(1, correction=0, keepdim=True) + contrast).sqrt()
    assert float((normal @ kernels.flatten(1).T - means).std()) == pytest.approx(1 / 0.7, rel=0.05)
    assert kernels.shape == (8, 1, 4, 4) and float(kernels.sum(dim=(1, 2, 3)).abs().max()) < 1e-5


def test_flat_images_and_too_few_patches_are_refused():
    with pytest.raises(DataError, match="every image is one flat colour: there is nothing to tell apart\ncheck"):
        whitened_filters(torch.ones(100, 3, 4, 4), 8, **SETTINGS, random=_random())
    with pytest.raises(DataError, match="5 patches for 8 filters\nadd images, or lower method.filters"):
        whitened_filters(torch.rand(5, 3, 4, 4), 8, **SETTINGS, random=_random())
