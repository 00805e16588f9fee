"""A glance reads few images from all over the data."""

import numpy as np
import pytest
from PIL import Image

from selfstudy.errors import DataError
from selfstudy.images.glance import glance, header_sizes, side_for
from selfstudy.images.opening import open_source
from selfstudy.views.spec import Draws, View


def test_a_glance_looks_at_images_from_the_first_to_the_last():
    images = np.arange(200, dtype=np.uint8)[:, None, None].repeat(16, 1).repeat(20, 2)
    seen = glance(open_source(images), channels=None, side=8)
    looked = [int(seen.scan.images[i][0, 0, 0]) for i in range(len(seen.scan.images))]
    assert len(looked) == 64 and looked[0] == 0 and looked[-1] > 190 and looked == sorted(looked)
    assert seen.scan.images[0].shape == (1, 8, 10) and seen.scan.sizes[0].tolist() == [16, 20]
    assert seen.seconds > 0


def test_of_large_images_fewer_are_read(monkeypatch):
    monkeypatch.setattr("selfstudy.images.glance._PIXELS", 16 * 20 * 12)
    assert len(glance(open_source(np.zeros((50, 16, 20), np.uint8)), channels=None, side=None).scan.good) == 12


def test_any_number_of_images_is_made_of_those_that_were_seen():
    seen = glance(
        open_source(np.arange(3 * 144, dtype=np.int64).reshape(3, 12, 12) % 251 / 250), channels=None, side=None
    )
    _, found = seen.of_size(None, 7)
    assert len(found.good) == len(found.images) == 7 and found.images[6].equal(found.images[0])
    _, small = seen.of_size(8, 2)
    assert small.images[1].shape == (1, 8, 8)


def test_images_of_which_none_can_be_read_are_refused(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(DataError, match="1 of 1 inputs cannot be used"):
        glance(open_source(tmp_path), channels=None, side=8)


def test_damaged_images_are_left_out(tmp_path):
    for number in range(3):
        Image.new("RGB", (30, 20)).save(tmp_path / f"{number}.png")
    (tmp_path / "bad.png").write_bytes(b"no image")
    assert len(glance(open_source(tmp_path), channels=None, side=8).scan.good) == 3


def test_images_are_read_so_large_that_the_smallest_crop_fills_its_view():
    assert side_for([View((64, 96), scale=(0.25, 1)), Draws(3)]) == 128
    assert side_for([View((64, 64), scale=(0.25, 1)), View((32, 32), scale=(0.01, 0.5))]) == 320


def test_sizes_are_read_from_headers_and_damaged_files_have_none(tmp_path):
    Image.new("RGB", (30, 20)).save(tmp_path / "0.png")
    (tmp_path / "1.png").write_bytes(b"no image")
    assert header_sizes(open_source(tmp_path)).tolist() == [[20, 30]]
    (tmp_path / "0.png").write_bytes(b"no image")
    assert header_sizes(open_source(tmp_path)).tolist() == [[1, 1]]
