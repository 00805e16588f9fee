"""Samples, and data sets of torchvision and the hub, by name."""

import pytest

from selfstudy.errors import DataError, EnvironmentFault, UsageError
from selfstudy.images.opening import open_source


def test_a_torchvision_set_that_is_not_here_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"torchvision:CIFAR10 is not in \./data"):
        open_source("torchvision:CIFAR10")


def test_hub_without_its_extra_names_the_command(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(EnvironmentFault, match=r"pip install 'selfstudy\[data\]'"):
        open_source("hub:cifar10")


def test_hub_opens_images_with_the_names_of_their_classes_and_decodes_none(folder, tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    with monkeypatch.context() as opening:
        opening.setattr(datasets.Image, "decode_example", lambda *_, **__: pytest.fail("an image was decoded"))
        source = open_source(f"hub:{folder}", labels=True)
    assert source.class_names == ["cats", "dogs", "owls"] and source.labels.tolist() == [0, 0, 1, 1, 2]
    assert source.read(0).shape == (3, 10, 12)


def test_hub_without_labels_names_the_columns_there_are(folder, tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    assert len(open_source(f"hub:{folder / 'cats'}")) == 2
    with pytest.raises(DataError, match="has no label column; its columns are image\nlabels are needed to evaluate"):
        open_source(f"hub:{folder / 'cats'}", labels=True)


def test_hub_says_why_even_when_the_package_does_not(monkeypatch):
    datasets = pytest.importorskip("datasets")

    def fail(*_, **__):
        raise ConnectionError

    monkeypatch.setattr(datasets, "load_dataset", fail)
    with pytest.raises(UsageError, match="hub:cifar10 cannot be opened: ConnectionError"):
        open_source("hub:cifar10")


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("name", ["sample:fashion", "sample:digits"])
def test_bundled_samples_have_both_splits_and_ten_classes(name, split):
    source = open_source(name, labels=True, split=split)
    assert len(source.class_names) == 10 and len(set(source.labels.tolist())) == 10
    assert source.read(0).shape[0] == 1
