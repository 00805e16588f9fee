"""Whatever can be opened gives the same images, and what cannot is refused with what is allowed."""

import pickle

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import TensorDataset

from selfstudy.errors import UsageError
from selfstudy.images import opening
from selfstudy.images.opening import FORMATS, open_source
from selfstudy.images.sources import Format
from tests.images.conftest import NAMES, PIXELS, as_parquet, as_tar, as_zip


@pytest.mark.parametrize("make", [lambda f: f, as_zip, as_tar, as_parquet], ids=["folder", "zip", "tar", "parquet"])
def test_every_container_gives_the_same_images_labels_and_survives_pickling(folder, make):
    source = pickle.loads(pickle.dumps(open_source(make(folder), labels=True)))
    assert len(source) == len(NAMES)
    assert source.class_names == ["cats", "dogs", "owls"]
    assert source.labels.tolist() == [0, 0, 1, 1, 1, 2]
    for index, pixels in enumerate(PIXELS):
        assert np.array_equal(source.read(index).permute(1, 2, 0).numpy(), pixels)
    assert len(set(source.ids)) == len(NAMES)


@pytest.mark.parametrize("name", ["nowhere/", "sampel:fashion", "sample:fashoin", "torchvision:CIFAR11"])
def test_a_name_that_leads_nowhere_says_so(name):
    with pytest.raises(UsageError, match="does not exist|unknown"):
        open_source(name)


def test_data_of_one_part_has_no_test_split(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "list.csv").write_text("path,label\na.png,x\na.png,y\n")
    for data in (tmp_path / "list.csv", TensorDataset(torch.zeros(4, 3, 8, 8), torch.arange(4) % 2)):
        assert len(open_source(data, labels=True)) > 1
        with pytest.raises(UsageError, match="has no 'test' split\ngive the test images apart"):
            open_source(data, labels=True, split="test")


def test_a_label_column_of_data_other_than_a_table_is_refused(tmp_path):
    for data, what in ((tmp_path, str(tmp_path)), (np.zeros((4, 8, 8), np.uint8), "ndarray"), ("sample:digits",) * 2):
        with pytest.raises(UsageError, match=f"{what} is not a table, so it has no column 'kind'\nleave"):
            open_source(data, labels=True, label_column="kind")


def test_a_file_that_no_format_declares_is_refused_with_all_that_some_declare(tmp_path):
    (tmp_path / "a.heic").write_bytes(b"x")
    with pytest.raises(UsageError) as caught:
        open_source(tmp_path / "a.heic")
    allowed = str(caught.value).partition("\nallowed: a folder, ")[2]
    assert set(allowed.split(", ")) == {suffix for one in FORMATS for suffix in one.suffixes} - {"/"}
    with pytest.raises(
        UsageError, match="unknown kind of data 'hob'; did you mean 'hub'.*\nknown: .*hub:NAME, or a path"
    ):
        open_source("hob:cats")


def test_a_format_is_what_its_file_declares_and_nothing_else(tmp_path, monkeypatch):
    opened = Format(lambda path, *, labels, split: (path.name, labels, split), suffixes=(".tfrecord",))
    monkeypatch.setattr(opening, "FORMATS", (*FORMATS, opened))
    (tmp_path / "a.TFRecord").write_bytes(b"x")
    assert open_source(tmp_path / "a.TFRecord", labels=True) == ("a.TFRecord", True, None)


def test_no_two_formats_claim_one_name():
    claims = [name for one in FORMATS for name in (*one.suffixes, *one.refused, *filter(None, [one.prefix]))]
    assert len(set(claims)) == len(claims)
