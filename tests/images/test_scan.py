"""The scan: every input is looked at, and what cannot be used is named."""

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from selfstudy.errors import DataError
from selfstudy.images.opening import open_source
from selfstudy.images.scan import scan


@pytest.fixture
def folder(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), dtype=np.uint8)
    for number, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / f"{number:03d}.png")
    return tmp_path


@pytest.mark.parametrize("memory", [None, 0])
def test_a_bad_file_is_listed_with_its_reason_and_the_others_stay_aligned(folder, tmp_path, memory):
    (folder / "007.png").write_bytes(b"not an image")
    source = open_source(folder)
    found = scan(source, memory_bytes=memory)
    assert len(found.good) == 39 and 7 not in found.good
    found.write(tmp_path / "inputs.parquet")
    rows = pq.read_table(tmp_path / "inputs.parquet").to_pylist()
    assert rows[7]["verdict"] == "skipped" and "not an image" in rows[7]["reason"]
    assert [row["id"] for row in rows] == list(source.ids)
    if found.images is not None:
        assert torch.equal(found.images[7], source.read(8))


def test_too_many_bad_files_stop_the_run_with_their_names(folder):
    for number in range(20):
        (folder / f"{number:03d}.png").write_bytes(b"")
    with pytest.raises(
        DataError, match=r"20 of 40 inputs cannot be used:\n  000\.png: empty file(.|\n)*and 10 more(.|\n)*max_bad=0.5"
    ):
        scan(open_source(folder))
    assert len(scan(open_source(folder), max_bad=0.6).good) == 20


def test_no_usable_file_stops_the_run(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(DataError, match="1 of 1 inputs cannot be used"):
        scan(open_source(tmp_path))


def test_truncated_files_are_found_when_decoded(folder):
    whole = (folder / "003.png").read_bytes()
    (folder / "003.png").write_bytes(whole[: len(whole) // 2])
    assert 3 not in scan(open_source(folder)).good


def test_mean_and_std_are_those_of_the_pixels(folder):
    found = scan(open_source(folder))
    pixels = found.images.tensor.double() / 255
    assert np.allclose(found.mean, pixels.mean(dim=(0, 2, 3)), atol=1e-9)
    assert np.allclose(found.std, pixels.std(dim=(0, 2, 3), correction=0), atol=1e-9)


def test_the_majority_decides_the_channels_and_gray_is_repeated(folder):
    Image.new("L", (16, 16), 100).save(folder / "900.png")
    found = scan(open_source(folder))
    assert found.channels == 3 and len(found.good) == 41
    assert found.images[40].unique().tolist() == [100]


def test_colour_among_gray_is_skipped_not_flattened(tmp_path):
    for number in range(12):
        Image.new("L", (16, 16), number).save(tmp_path / f"{number:02d}.png")
    Image.new("RGB", (16, 16)).save(tmp_path / "99.png")
    found = scan(open_source(tmp_path))
    assert found.channels == 1 and len(found.good) == 12
    assert found.verdicts[12].reason == "has 3 channels, the run uses 1"


def test_mixed_depths_become_float(tmp_path):
    Image.fromarray(np.full((16, 16), 65535, np.uint16)).save(tmp_path / "a.png")
    Image.fromarray(np.full((16, 16), 255, np.uint8)).save(tmp_path / "b.png")
    images = scan(open_source(tmp_path)).images
    assert images.tensor.dtype == torch.float32 and images.tensor.min() == 1.0


def test_images_of_mixed_sizes_are_kept_as_they_are(folder):
    Image.new("RGB", (40, 20)).save(folder / "950.png")
    found = scan(open_source(folder))
    assert found.images.tensor is None and found.images[40].shape == (3, 20, 40)
    assert any("different sizes" in line for line in found.warnings)


def test_tiny_pictures_are_skipped(folder):
    Image.new("RGB", (4, 40)).save(folder / "950.png")
    assert scan(open_source(folder)).verdicts[-1].reason.startswith("40x4 pixels, at least 8")


@pytest.mark.parametrize("count", [1, 3])
def test_images_are_kept_if_twice_their_bytes_fit_into_the_memory(count):
    source = open_source(np.zeros((count, 10, 12), np.uint8))  # each counts as three channels
    assert scan(source, memory_bytes=count * 10 * 12 * 3 * 2).images is not None
    assert scan(source, memory_bytes=count * 10 * 12 * 3 * 2 - 1).images is None


def test_processes_are_started_for_many_files_only(folder, monkeypatch):
    def started():
        raise AssertionError("processes are counted, to be started")

    monkeypatch.setattr("selfstudy.images.scan.processors", started)
    assert len(scan(open_source(folder)).good) == 40
    assert len(scan(open_source(np.zeros((2000, 8, 8), np.uint8))).good) == 2000
    monkeypatch.setattr("selfstudy.images.scan._MANY", 40)
    with pytest.raises(AssertionError, match="to be started"):
        scan(open_source(folder))


def test_a_scan_that_shrinks_keeps_small_images_and_notes_their_own_sizes(folder):
    Image.new("RGB", (64, 48), (200, 0, 0)).save(folder / "950.jpg")
    found = scan(open_source(folder), side=24)
    assert found.images[40].shape == (3, 24, 32) and found.images[0].shape == (3, 16, 16)
    assert found.sizes[40].tolist() == [48, 64]
    unkept = scan(open_source(folder), side=24, memory_bytes=0)
    assert unkept.images is None and unkept.mean == pytest.approx(found.mean)


def test_more_images_fit_into_the_memory_when_they_are_shrunk():
    source = open_source(np.zeros((4, 40, 80), np.uint8))
    room = 4 * 10 * 20 * 3 * 2
    assert scan(source, memory_bytes=room, side=10).images.tensor.shape == (4, 1, 10, 20)
    assert scan(source, memory_bytes=room - 1, side=10).images is None
    assert scan(source, memory_bytes=room).images is None
