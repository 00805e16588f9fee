"""Labelled images: their digest, and the batches that features are made of."""

import shutil

import numpy as np
import torch
from PIL import Image

from selfstudy.images import scan as scanning
from selfstudy.images.labelled import digest, features_of, open_labelled


def photos(root, *, seed=0):
    chance = np.random.default_rng(seed)
    for number in range(12):
        (root / "ab"[number % 2]).mkdir(parents=True, exist_ok=True)
        pixels = chance.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / "ab"[number % 2] / f"{number}.bmp")
    return root


def digests(data):
    train, test, _ = open_labelled(data, None, 3)
    return digest(train), digest(test)


def test_a_digest_changes_with_pixels_and_labels_and_with_nothing_else(tmp_path, monkeypatch):
    one, other = photos(tmp_path / "one"), photos(tmp_path / "other", seed=1)  # the same names and sizes
    copy = shutil.copytree(one, tmp_path / "copy")
    for memory in (2**30, 0):
        monkeypatch.setattr(scanning, "usable_memory", lambda memory=memory: memory)
        assert digests(one) == digests(one) == digests(copy)
        assert not set(digests(one)) & set(digests(other)) and len(set(digests(one))) == 2
    (copy / "a" / "0.bmp").rename(copy / "b" / "0.bmp")
    assert digests(one) != digests(copy)


class Dataset(torch.utils.data.Dataset):
    def __len__(self):
        return 12

    def __getitem__(self, number):
        return np.full((8, 8, 3), number, np.uint8), number % 2


def test_images_that_only_a_function_of_the_user_knows_have_a_digest_in_memory_only(monkeypatch):
    assert None not in digests(Dataset())
    monkeypatch.setattr(scanning, "usable_memory", lambda: 0)
    assert digests(Dataset()) == (None, None)


def test_features_have_the_labels_of_their_images(monkeypatch):
    def brightness(images):
        return torch.stack([image.float().mean() for image in images])[:, None]

    for memory in (2**30, 0):
        monkeypatch.setattr(scanning, "usable_memory", lambda memory=memory: memory)
        train, _, how = open_labelled(Dataset(), None, 3)
        features, labels = features_of(brightness, train)
        assert how == "a fifth of each class is for the test"
        assert features[:, 0].tolist() == train.scan.good.tolist()
        assert labels.tolist() == [number % 2 for number in train.scan.good.tolist()]
