"""Labelled images as an evaluation: its subjects, its split, and how an encoder is fine-tuned."""

import io
import shutil

import numpy as np
import pytest
import torch
from rich.console import Console

import selfstudy
from selfstudy.errors import UsageError
from selfstudy.images.evaluate import open_evaluation
from selfstudy.images.free import untrained
from selfstudy.images.opening import open_source
from selfstudy.probes import named
from selfstudy.probes.evaluation import Question
from selfstudy.probes.features import Features
from selfstudy.probes.finetune import Task
from selfstudy.runs.folder import RunFolder
from selfstudy.runs.records import trained_in_half

QUIET = Console(file=io.StringIO())
STILL = {"optimizer.lr": 1e-30, "optimizer.weight_decay": 0.0}  # one step that moves no weight


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    torch.set_num_threads(1)
    settings = {"encoder": "resnet10t", "image_size": 16, "batch_size": 8, "device": "cpu", "precision": "fp32"}
    out = tmp_path_factory.mktemp("run") / "run"
    return selfstudy.pretrain("sample:digits", out=out, steps=1, seed=3, set=STILL, **settings)


def opened(folder, data="sample:digits", *, probes=("knn", "finetune"), **more):
    return open_evaluation(RunFolder(folder), Question(named(probes), data, **more), QUIET)


def noise(count):
    images = torch.randint(0, 256, (count, 1, 16, 16), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return images, torch.arange(count) % 2


def test_raw_pixels_and_the_untrained_encoder_come_before_the_pretrained_one(run):
    subjects = list(opened(run.folder).subjects)
    assert [one.name for one in subjects] == ["raw pixels", "untrained encoder, statistics set", "pretrained encoder"]
    assert [Task in one.inputs for one in subjects] == [False, True, True]
    assert [one.free for one in subjects] == [True, True, False]


def test_free_rows_have_a_key_for_their_data_and_the_pretrained_encoder_has_none(run):
    data, other = noise(8), noise(9)
    keys = [[one.key for one in opened(run.folder, *pair).subjects] for pair in ((data,), (data,), (other,))]
    assert keys[0] == keys[1] and len({*keys[0][:2], *keys[2][:2]}) == 4
    assert {found[-1] for found in keys} == {None}


def test_the_untrained_encoder_has_the_first_weights_of_its_run(run):
    pretrained = run.encoder.encoder
    torch.manual_seed(99)
    first = dict(untrained(run.encoder).encoder.named_parameters())
    assert len(first) > 10
    torch.testing.assert_close(dict(pretrained.named_parameters()), first, rtol=0, atol=1e-9)


@pytest.mark.parametrize(("precision", "half"), [("fp32", False), ("bf16", True)])
def test_an_encoder_is_fine_tuned_in_the_precision_of_its_run_on_such_a_device(run, tmp_path, precision, half):
    folder = RunFolder(shutil.copytree(run.folder, tmp_path / "run"))
    device = run.encoder.device.type
    written = folder.config.read_text().replace("precision: fp32", f"precision: {precision}")
    folder.config.write_text(written.replace("device: cpu", f"device: {device}"))
    *_, last = opened(folder.path).subjects
    assert last.inputs[Task]().half is half
    assert not trained_in_half(folder, torch.device("meta"))  # of another kind, which may be far slower in bfloat16


def test_the_data_s_own_test_split_is_used_or_a_fifth_of_each_class(run):
    assert opened(run.folder).about == "1,438 train, 359 test images; the data's own test split"
    data = np.zeros((10, 16, 16), np.uint8), np.arange(10) % 2
    assert opened(run.folder, data).about == "8 train, 2 test images; a fifth of each class is for the test"
    assert opened(run.folder, data, test=data).about == "10 train, 10 test images; test images given apart"


def test_a_test_set_with_both_parts_is_tested_on_its_test_part(run, tmp_path):
    digits = "sample:digits"
    *_, last = opened(run.folder, digits, test=digits).subjects
    assert opened(run.folder, digits, test=digits).about == "1,438 train, 359 test images; test images given apart"
    *_, own = opened(run.folder, digits).subjects
    assert torch.equal(last.inputs[Features]().test, own.inputs[Features]().test)


def test_features_are_those_of_the_embedder_with_their_labels(run):
    data = images, _ = noise(8)
    *_, last = opened(run.folder, data, test=data).subjects
    features = last.inputs[Features]()
    np.testing.assert_allclose(features.test, run.encoder.embed(list(images)), atol=1e-5)
    assert features.targets.tolist() == [0, 1] * 4 and features.name == "pretrained encoder"


def test_what_images_cannot_be_asked_is_refused(run):
    with pytest.raises(UsageError, match="probe sts cannot be asked of labelled images\nask for knn alone"):
        opened(run.folder, probes=("knn", "sts"))
    with pytest.raises(UsageError, match="text column 'kind': .* is a run on images\nleave the text column out"):
        opened(run.folder, columns={"text_column": "kind"})


def test_the_split_holds_what_a_verdict_rests_on(run, tmp_path):
    split = opened(run.folder, probes=("knn",)).split
    assert len(split.train) == len(split.test) == 10 and sum(split.test) < sum(split.train)
    assert split.shift < 0.1 and split.fingerprint == open_source("sample:digits", split="test").fingerprint()
    pixels, labels = (np.arange(6 * 16 * 16) % 251).astype(np.uint8).reshape(6, 16, 16), np.array([0, 0, 0, 1, 1, 1])
    np.savez(tmp_path / "a.npz", images=pixels, labels=labels)
    np.savez(tmp_path / "b.npz", images=pixels[[0, 5]], labels=labels[[0, 5]])
    split = opened(run.folder, tmp_path / "a.npz", test=tmp_path / "b.npz", probes=("knn",)).split
    assert (split.train, split.test, split.repeated) == ((3, 3), (1, 1), 2)
