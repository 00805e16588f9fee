"""The preparation of images for a trained encoder."""

import pytest
import torch

from selfstudy.errors import DataError
from selfstudy.views.preprocess import Preprocessing


def test_preparing_fits_scales_and_normalises():
    preparation = Preprocessing((16, 24), 3, [0.5] * 3, [0.25] * 3)
    prepared = preparation.prepare(torch.full((3, 40, 60), 255, dtype=torch.uint8))
    assert prepared.shape == (3, 16, 24)
    torch.testing.assert_close(prepared, torch.full((3, 16, 24), 2.0))


def test_another_number_of_channels_is_refused():
    with pytest.raises(DataError, match=r"an image has 1 channels, this encoder was trained on 3: .* is \(1, 8, 9\)"):
        Preprocessing((8, 8), 3, [0.5] * 3, [0.25] * 3).prepare(torch.zeros(1, 8, 9))


def test_a_batch_of_images_of_several_sizes_is_prepared_as_each_by_itself():
    preparation = Preprocessing((8, 8), 3, [0.1, 0.2, 0.3], [0.25, 0.5, 1.0])
    images = [torch.rand(3, 12, 20), torch.rand(3, 8, 8)]
    together = preparation.prepare_batch(images)
    assert together.dtype == torch.float32 and together.shape == (2, 3, 8, 8)
    for row, image in zip(together, images, strict=True):
        torch.testing.assert_close(row, preparation.prepare(image))
    expected = (images[1] - torch.tensor([0.1, 0.2, 0.3]).view(3, 1, 1)) / torch.tensor([0.25, 0.5, 1.0]).view(3, 1, 1)
    torch.testing.assert_close(together[1], expected)
