"""k-NN readings of a run on images: on which images they are, and that they change nothing."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import selfstudy
from selfstudy.errors import DataError, UsageError
from selfstudy.images.labelled import open_labelled
from selfstudy.images.readings import open_eval_set
from selfstudy.probes.features import Features
from selfstudy.views.preprocess import Preprocessing
from tests.small_data import write_photos

QUICK = {"steps": 3, "batch_size": 4, "image_size": 16, "device": "cpu", "precision": "fp32"}
PREPARED = Preprocessing((16, 16), 3, [0.5] * 3, [0.25] * 3)
READ = "selfstudy.images.sources.Source.read"


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return write_photos(tmp_path_factory.mktemp("photos"), count=40, size=(16, 16))


class _Mean(nn.Module):
    """An encoder in training mode whose embedding is the mean of each channel."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, images):
        assert not self.training
        return images.mean(dim=(2, 3)) * self.scale


def _of(subject):
    return subject.inputs[Features]()


def test_four_fifths_of_the_train_part_are_the_bank_and_a_fifth_is_asked(photos):
    examples = open_eval_set(photos, PREPARED)
    assert examples.about == "26 images of train in the bank, 6 asked"  # 8 of 40 are the test images of an evaluation
    encoder = _Mean().train()
    features, raw = _of(examples.subject(encoder)), _of(examples.free[0])
    assert encoder.training and features.train.shape == (26, 3) and features.test.shape == (6, 3)
    assert raw.name == "raw pixels" and raw.train.shape == (26, 768) and examples.free[0].free
    assert torch.equal(raw.targets, features.targets)
    means = (raw.train.view(26, 3, 256).mean(dim=2) - 0.5) / 0.25
    torch.testing.assert_close(features.train, means, atol=1e-4, rtol=1e-4)


def test_no_image_is_one_that_an_evaluation_tests_on(photos, tmp_path):
    (tmp_path / "a").mkdir()
    for number in range(40):
        (tmp_path / "a" / f"c{number % 2}").mkdir(exist_ok=True)
        Image.new("L", (16, 16), number).save(tmp_path / "a" / f"c{number % 2}" / f"{number:02d}.png")
    _, test, _ = open_labelled(tmp_path / "a", None, 1)
    tested = {int(test.scan.images[i][0, 0, 0]) for i in range(len(test.labels))}
    raw = _of(open_eval_set(tmp_path / "a", Preprocessing((16, 16), 1, [0.5], [0.25])).free[0])
    seen = {round(255 * value) for value in [*raw.train[:, 0].tolist(), *raw.test[:, 0].tolist()]}
    assert len(tested) == 8 and len(seen) == 32 and not tested & seen


def test_the_test_images_of_split_data_are_left_alone(photos, tmp_path):
    for part in ("train", "test"):
        (tmp_path / part).mkdir()
        write_photos(tmp_path / part, count=20, size=(16, 16))
    for file in (tmp_path / "test").glob("*/*.png"):
        file.write_bytes(b"never read")
    assert open_eval_set(tmp_path, PREPARED).about == "16 images of train in the bank, 4 asked"


def test_few_large_images_are_kept_in_memory(photos, monkeypatch):
    monkeypatch.setattr("selfstudy.images.readings._LEAST", 10)
    examples = open_eval_set(photos, PREPARED._replace(size=(1600, 1600)))
    assert examples.about == "14 images of train in the bank, 2 asked"


def test_data_without_labels_are_refused():
    with pytest.raises(DataError, match="has no labels"):
        open_eval_set(np.zeros((4, 16, 16, 3), np.uint8), PREPARED)


def _weights(run):
    return (run.folder / "encoder" / "model.safetensors").read_bytes()


@pytest.mark.parametrize("method", ["simclr", "dino"])  # the second one is read by its teacher
def test_a_run_with_readings_learns_the_same_bit_for_bit(photos, tmp_path, method):
    settings = QUICK | {"method": method, "encoder": "resnet10t"}
    plain = selfstudy.pretrain(photos, out=tmp_path / "plain", **settings)
    read = selfstudy.pretrain(photos, out=tmp_path / "read", eval=photos, **settings)
    assert _weights(read) == _weights(plain)
    assert not (plain.folder / "readings.jsonl").exists()
    lines = [json.loads(line) for line in (read.folder / "readings.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line["probe"] == "knn"] == [None, 0, 1, 2, 3]
    assert (read.folder / "evaluations.jsonl").is_file()


def test_a_resumed_run_keeps_the_readings_up_to_its_checkpoint(photos, tmp_path):
    settings = QUICK | {"encoder": "resnet10t", "out": tmp_path / "run", "eval": photos}
    selfstudy.pretrain(photos, **settings | {"steps": 2})
    with (tmp_path / "run" / "readings.jsonl").open("a") as file:
        file.write(json.dumps({"step": 3, "probe": "knn", "value": 0.0}) + "\n")  # after the last checkpoint
    selfstudy.pretrain(photos, **settings | {"steps": 4}, resume=True)
    lines = [json.loads(line) for line in (tmp_path / "run" / "readings.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line["probe"] == "knn"] == [None, 0, 1, 2, 3, 4]
    assert all("protocol" in line or line["step"] is None for line in lines)


def test_wrong_labelled_data_stops_a_run_before_anything_is_written(photos, tmp_path):
    with pytest.raises(UsageError, match="does not exist"):
        selfstudy.pretrain(photos, out=tmp_path / "run", eval=tmp_path / "none", encoder="resnet10t", **QUICK)
    assert not (tmp_path / "run" / "config.yaml").exists()
