"""Tests that compare a run on two processes, launched as a user launches it, with the same run on one process."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from selfstudy.disk.lock import run_lock

# BatchNorm uses the statistics of each process. Without it both runs agree, except for the order of sums.
RUN = ["--method", "moco", "--encoder", "vit_tiny_patch16_224", "--image-size", "16", "--batch-size", "8"]


@pytest.fixture
def photos(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 20, 20, 3), dtype=np.uint8)
    for number, image in enumerate(pixels):
        (tmp_path / "photos").mkdir(exist_ok=True)
        Image.fromarray(image).save(tmp_path / "photos" / f"{number:02d}.png")
    return tmp_path / "photos"


def _pretrain(photos, out, *options):
    command = [
        sys.executable,
        "-m",
        "selfstudy.cli",
        "pretrain",
        str(photos),
        "--out",
        str(out),
        "--device",
        "cpu",
        "--precision",
        "fp32",
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run([*command, *RUN, *options], capture_output=True, text=True, env=environment, timeout=250)


@pytest.mark.slow
def test_two_processes_train_the_encoder_that_one_trains(photos, tmp_path):
    one = _pretrain(photos, tmp_path / "one", "--steps", "4")
    two = _pretrain(photos, tmp_path / "two", "--steps", "4", "--set", "train.devices=2")
    assert one.returncode == 0, one.stderr
    assert two.returncode == 0, two.stderr
    assert two.stdout.count("done") == 1
    mine, other = (load_file(tmp_path / name / "encoder" / "model.safetensors") for name in ("one", "two"))
    for name, weights in mine.items():
        torch.testing.assert_close(other[name], weights, atol=2e-5, rtol=1e-4)


@pytest.mark.slow
def test_two_processes_on_a_clock_stop_together_and_resume(photos, tmp_path):
    out, shared = tmp_path / "run", ("--minutes", "0.1", "--set", "train.devices=2")
    first = _pretrain(photos, out, *shared)
    assert first.returncode == 0, first.stderr
    again = _pretrain(photos, out, *shared, "--resume")
    assert again.returncode == 0, again.stderr
    assert "from step" in again.stdout


COLLAPSED = """
from selfstudy.methods.base import Method, MethodConfig, Recipe, StepOutput
from selfstudy.views.spec import View


class Collapsed(Method):
    class Config(MethodConfig):
        pass

    @staticmethod
    def default_views(size, channels=3):
        return [View(size)]

    @staticmethod
    def recipe(facts):
        return Recipe({"name": "adamw", "lr": 1e-3, "weight_decay": 0.0}, {}, {})

    def forward(self, views, progress):
        embedding = self.encoder(views[0])
        return StepOutput(embedding.square().mean(), {}, embedding.detach() * 0 + 1)
"""


@pytest.mark.slow
def test_when_the_first_process_stops_on_purpose_the_other_says_so_in_one_line(photos, tmp_path, monkeypatch):
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "__init__.py").touch()
    (tmp_path / "own" / "collapsed.py").write_text(COLLAPSED, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    options = ["--steps", "9", "--method", "own.collapsed"]
    for setting in ("train.devices=2", "health.every=1", "health.on_collapse=stop"):
        options += ["--set", setting]
    stopped = _pretrain(photos, tmp_path / "run", *options)
    assert stopped.returncode == 4, stopped.stderr
    with run_lock(tmp_path / "run"):
        in_use = _pretrain(photos, tmp_path / "run", *options, "--resume")
    assert in_use.returncode == 6, in_use.stderr
    for result, why in ((stopped, "collapsed since step 1"), (in_use, "is in use by process")):
        assert result.stderr.count(why) == 1 and "internal error" not in result.stderr
        assert "selfstudy: another process of this run stopped" in result.stderr


@pytest.mark.slow
def test_a_batch_that_two_processes_cannot_share_is_refused(photos, tmp_path):
    result = _pretrain(photos, tmp_path / "run", "--set", "train.devices=2", "--batch-size", "7")
    assert result.returncode == 2 and "does not divide by 2 processes" in result.stderr
