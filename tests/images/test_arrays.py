"""Arrays, tensors and datasets as sources, and the labels and shapes that are refused."""

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset, TensorDataset

from selfstudy.errors import DataError
from selfstudy.images.opening import open_source
from selfstudy.images.scan import scan
from tests.images.conftest import PIXELS


class _Named(Dataset):
    def __len__(self):
        return 2

    def __getitem__(self, index):
        return PIXELS[index], ("cat", "dog")[index]


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        ((PIXELS[:3], ["cat", "dog", "cat"]), "cat .<U3"),
        ((PIXELS[:3], [0.0, 0.9, 1.2]), "0.9 .float64"),
        ((PIXELS[:2], [0.0, float("nan")]), "nan .float64"),
        (_Named(), "cat .<U3"),
    ],
    ids=["names", "shares", "missing", "dataset"],
)
def test_labels_that_are_no_class_numbers_are_refused(data, shown):
    with pytest.raises(DataError, match=f"has labels such as {shown}.\nclass numbers are needed"):
        open_source(data, labels=True)


@pytest.mark.parametrize("labels", [np.zeros((2, 1), np.int64), np.eye(2, dtype=np.int64), 1])
def test_labels_of_another_shape_are_refused(labels):
    with pytest.raises(DataError, match=r"has labels of shape \(.*\)\none class number for each image is needed"):
        open_source((PIXELS[:2], labels), labels=True)


def test_whole_numbers_of_any_kind_are_class_numbers():
    for numbers in ([1.0, 0.0], np.array([True, False]), torch.tensor([1, 0]), np.array([1, 0], np.uint8)):
        assert open_source((PIXELS[:2], numbers), labels=True).labels.tolist() == [1, 0]


@pytest.mark.parametrize(
    "data", [np.zeros((5, 3, 32, 32), np.uint8), torch.zeros(5, 32, 32, 3)], ids=["array", "tensor"]
)
def test_channels_at_the_wrong_end_are_told_where_they_belong(data):
    with pytest.raises(DataError, match=r"pixels, at least 8 a side are needed; arrays are \(N, H, W, C\), tensors"):
        scan(open_source(data))


def test_arrays_tensors_and_datasets_are_sources(tmp_path):
    np.save(tmp_path / "a.npy", PIXELS)
    np.savez(tmp_path / "a.npz", images=PIXELS, labels=np.arange(6))
    tensor = torch.from_numpy(PIXELS).permute(0, 3, 1, 2)
    dataset = TensorDataset(tensor, torch.arange(6))
    for data in (tmp_path / "a.npy", tmp_path / "a.npz", PIXELS, tensor, dataset):
        source = open_source(data)
        assert len(source) == 6 and torch.equal(source.read(3), tensor[3])
    assert open_source(tmp_path / "a.npz", labels=True).labels.tolist() == list(range(6))
    assert open_source(dataset, labels=True).labels.tolist() == list(range(6))
    assert open_source(dataset, labels=True).class_names == ["0", "1", "2", "3", "4", "5"]
    assert open_source((PIXELS, np.arange(6)), labels=True).labels.tolist() == list(range(6))


def test_a_pickle_inside_an_array_file_is_refused(tmp_path):
    np.save(tmp_path / "evil.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="cannot be read"):
        open_source(tmp_path / "evil.npy")
