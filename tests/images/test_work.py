"""A run on images, seen from outside: the files it leaves."""

import json

import numpy as np
import torch

import selfstudy

QUICK = {"encoder": "resnet10t", "steps": 4, "batch_size": 2, "image_size": 16, "device": "cpu", "precision": "fp32"}


class Fading(torch.utils.data.Dataset):
    """Twelve images of noise: number 1 can never be read, numbers 4 and 7 once only, by the scan."""

    def __init__(self):
        self.images = np.random.default_rng(0).integers(0, 256, (12, 16, 16, 3), dtype=np.uint8)
        self.reads = dict.fromkeys(range(12), 0)

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        self.reads[index] += 1
        if index == 1 or (index in (4, 7) and self.reads[index] > 1):
            raise OSError("gone")
        return self.images[index]


def test_images_that_become_unreadable_are_listed_by_their_own_ids(tmp_path):
    settings = {"data.cache_gigabytes": 0, "data.max_bad": 0.5, "train.workers": 0}
    run = selfstudy.pretrain(Fading(), out=tmp_path / "run", set=settings, **QUICK | {"steps": 10})
    lines = [json.loads(line) for line in (run.folder / "unreadable.jsonl").read_text().splitlines()]
    assert sorted(line["id"] for line in lines) == ["04", "07"]
    assert all(line["reason"] == "the dataset raised OSError: gone" for line in lines)


def test_without_an_unreadable_image_there_is_no_list(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (8, 16, 16), dtype=np.uint8)
    run = selfstudy.pretrain(images, out=tmp_path / "run", **QUICK | {"steps": 1})
    assert not (run.folder / "unreadable.jsonl").exists()
