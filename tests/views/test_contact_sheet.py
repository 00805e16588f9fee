"""The picture of what a method sees."""

import numpy as np
import pytest
import torch

from selfstudy.views.contact_sheet import contact_sheet
from selfstudy.views.spec import View


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_a_sheet_has_a_row_per_image_and_a_column_per_view(channels):
    images = {n: torch.randint(0, 256, (channels, 30, 40 + n), dtype=torch.uint8) for n in range(3)}
    sheet = contact_sheet(images, [View((32, 32), count=2), View((16, 16))], seed=0)
    assert sheet.size == (4 + 4 * 100, 4 + 3 * 100)
    assert np.asarray(sheet).std() > 10


def test_the_sheet_is_the_same_for_the_same_seed_and_leaves_the_images_alone():
    image = torch.rand(3, 30, 30, generator=torch.Generator().manual_seed(0))
    before = image.clone()
    views = [View((32, 32), count=2, jitter=(0.4, 0.4, 0.4, 0.1))]
    sheets = [np.asarray(contact_sheet({0: image}, views, seed=seed)) for seed in (0, 0, 1)]
    assert np.array_equal(sheets[0], sheets[1]) and not np.array_equal(sheets[0], sheets[2])
    assert torch.equal(image, before)
