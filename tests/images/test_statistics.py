"""Normalisation statistics of an image encoder, set on images."""

import numpy as np
import pytest
import torch
from torch import nn

from selfstudy.images import statistics
from selfstudy.images.decode import BadInput
from selfstudy.images.opening import open_source
from selfstudy.images.scan import scan
from selfstudy.images.statistics import set_on_images
from selfstudy.views.preprocess import Preprocessing

CPU = torch.device("cpu")
PLAIN = Preprocessing((8, 8), 3, [0.0, 0.0, 0.0], [1.0, 1.0, 1.0])


def opened(count, *, memory=None):
    chance = np.random.default_rng(0)
    source = open_source(chance.integers(0, 256, (count, 8, 8, 3), dtype=np.uint8))
    return {"source": source, "found": scan(source, memory_bytes=memory)}


def set_on(norm, data, preprocessing=PLAIN):
    return set_on_images(nn.Sequential(norm, nn.AdaptiveAvgPool2d(1)), preprocessing, **data, device=CPU)


def test_statistics_are_those_of_the_prepared_images_in_memory_or_not():
    for data in (opened(40), opened(40, memory=0)):
        norm = nn.BatchNorm2d(3)
        assert set_on(norm, data, PLAIN._replace(mean=[0.5, 0.5, 0.5], std=[0.2, 0.2, 0.2])) == (1, 40)
        images = data["source"].images.double() / 255
        torch.testing.assert_close(norm.running_mean, ((images.mean((0, 2, 3)) - 0.5) / 0.2).float())


@pytest.mark.parametrize(("size", "most"), [((8, 8), 2048), ((64, 64), 2048), ((128, 96), 682), ((224, 224), 256)])
def test_fewer_images_are_used_if_they_are_large(size, most, monkeypatch):
    seen = []
    monkeypatch.setattr(statistics, "set_statistics", lambda _, batches: seen.extend(batches))
    monkeypatch.setattr(Preprocessing, "prepare", lambda *_: torch.zeros(1))
    assert set_on(nn.BatchNorm2d(3), opened(2100), PLAIN._replace(size=size)) == (1, most)
    assert max(map(len, seen)) == 64 and sum(map(len, seen)) == most


def test_images_that_can_no_longer_be_read_and_a_last_single_one_are_left_out(monkeypatch):
    data = opened(67, memory=0)
    read = data["source"].read

    def fading(index):
        if index in (3, 4):
            raise BadInput("gone")
        return read(index)

    monkeypatch.setattr(data["source"], "read", fading)
    assert set_on(nn.BatchNorm2d(3), data)[1] in (64, 65)
    assert set_on(nn.BatchNorm2d(3), opened(65))[1] == 64


def test_an_encoder_without_such_layers_and_a_single_image_change_nothing():
    norm = nn.BatchNorm2d(3)
    assert set_on(norm, opened(1)) == (0, 0) and norm.running_mean.tolist() == [0, 0, 0]
    assert set_on(nn.GroupNorm(1, 3), opened(9)) == (0, 0)


def test_images_that_have_all_become_unreadable_change_nothing(monkeypatch):
    data, norm = opened(9, memory=0), nn.BatchNorm2d(3)
    norm.running_mean.fill_(7)

    def gone(index):
        raise BadInput("gone")

    monkeypatch.setattr(data["source"], "read", gone)
    assert set_on(norm, data) == (0, 0) and norm.running_mean.tolist() == [7, 7, 7]
