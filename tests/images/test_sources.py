"""Every source keeps the protocol, whatever is behind it."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from selfstudy.images.opening import open_source
from selfstudy.images.sources import Some, read_shrunk
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


def test_a_part_of_a_source_has_its_own_numbers_and_the_names_of_the_whole(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for number in range(3):
            Image.new("RGB", (9, 12), (number, 0, 0)).save(tmp_path / name / f"{number}.png")
    whole = open_source(tmp_path, labels=True)
    part = Some(whole, [4, 0])
    assert len(part) == 2 and list(part.ids) == [whole.ids[4], whole.ids[0]] and part.labels.tolist() == [1, 0]
    assert torch.equal(part.read(0), whole.read(4)) and part.encoded(1) == whole.encoded(0)
    assert (part.class_names, part.describe()) == (whole.class_names, whole.describe())


@pytest.mark.parametrize("data", [np.zeros((2, 30, 20, 3), np.uint8), None])
def test_arrays_and_files_are_read_smaller(tmp_path, data):
    if data is None:
        data = tmp_path / "a.png"
        Image.new("RGB", (20, 30)).save(data)
        data = tmp_path
    source = open_source(data)
    assert read_shrunk(source, 0, 10).shape == (3, 15, 10)
    assert read_shrunk(source, 0, None).shape == (3, 30, 20)
