"""Every source keeps the protocol, whatever is behind it."""

import numpy as np
import pytest
from torch import Tensor
from torch.utils.data import Dataset

from selfstudy.images.opening import open_source
from tests.images.conftest import NAMES, PIXELS, as_csv, as_parquet, as_tar, as_zip


class _Six(Dataset):
    def __len__(self):
        return 6

    def __getitem__(self, index):
        return PIXELS[index], index % 2


MAKERS = [lambda f: f, as_zip, as_tar, as_csv, as_parquet, lambda f: PIXELS, lambda f: _Six()]


@pytest.mark.parametrize("make", MAKERS, ids=["folder", "zip", "tar", "csv", "parquet", "array", "dataset"])
def test_a_source_has_an_id_a_path_and_an_image_for_every_input(folder, make):
    source = open_source(make(folder))
    count = len(source)
    assert count in (len(NAMES), len(NAMES) - 1)  # one name breaks a line, which a list cannot hold
    assert len(set(source.ids)) == len(source.paths) == count and source.labels is None and source.warnings == []
    image, encoded = source.read(count - 1), source.encoded(count - 1)
    assert isinstance(image, Tensor) and image.shape == (3, 10, 12)
    assert encoded is None or encoded.startswith(b"\x89PNG")
    assert source.describe() and source.fingerprint() == open_source(make(folder)).fingerprint()


def test_a_fingerprint_follows_names_sizes_and_pixels(folder):
    before = [open_source(folder).fingerprint(), open_source(PIXELS).fingerprint()]
    (folder / "cats" / "a.png").rename(folder / "cats" / "0.png")
    assert open_source(folder).fingerprint() != before[0]
    assert open_source(np.flip(PIXELS, 1)).fingerprint() != before[1]
