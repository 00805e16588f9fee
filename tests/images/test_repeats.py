import shutil

import numpy as np
import pytest
from PIL import Image

from selfstudy.images.opening import open_source
from selfstudy.images.repeats import count_repeated
from selfstudy.images.scan import scan


@pytest.fixture
def folders(tmp_path):
    """Folders of four train and three test images, of which one test image is a copy and one has its pixels only."""
    rng = np.random.default_rng(0)
    for folder, count in (("train", 4), ("test", 1)):
        (tmp_path / folder).mkdir()
        for number in range(count):
            Image.fromarray(rng.integers(0, 255, (16, 16, 3), np.uint8)).save(tmp_path / folder / f"{number}.png")
    shutil.copy(tmp_path / "train" / "0.png", tmp_path / "test" / "copy.png")
    Image.open(tmp_path / "train" / "1.png").save(tmp_path / "test" / "again.png", compress_level=0)
    return tmp_path / "train", tmp_path / "test"


def opened(folder, **options):
    source = open_source(str(folder))
    return source, scan(source, **options)


def test_images_in_memory_are_the_same_if_their_pixels_are(folders):
    train, test = map(opened, folders)
    assert count_repeated(train, test) == 2 and count_repeated(train, train) == 4


@pytest.mark.parametrize("kept", [(0, None), (0, 0), (None, 0)])
def test_images_that_are_not_all_in_memory_are_the_same_if_their_files_are(folders, kept):
    train, test = (opened(folder, memory_bytes=memory) for folder, memory in zip(folders, kept, strict=True))
    assert count_repeated(train, test) == 1


def test_a_file_that_is_gone_is_no_copy(folders):
    train, test = (opened(folder, memory_bytes=0) for folder in folders)
    (folders[1] / "copy.png").unlink()
    assert count_repeated(train, test) == 0


def test_arrays_have_no_files_and_are_compared_by_their_pixels(folders):
    pixels = np.arange(3 * 8 * 8 * 3, dtype=np.uint8).reshape(3, 8, 8, 3)
    source = open_source(pixels)
    whole = source, scan(source, memory_bytes=0)
    assert count_repeated(whole, whole) == 3
