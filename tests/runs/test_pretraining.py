"""A run from its settings to its end: what stops it."""

import json
import time

import numpy as np
import pytest

import selfstudy
from selfstudy.errors import TrainingError
from selfstudy.methods.simclr import SimCLR
from selfstudy.ops.schedules import Progress
from selfstudy.runs.trial import StepCost
from selfstudy.train.clock import Clock

QUICK = {"encoder": "resnet10t", "steps": 4, "batch_size": 2, "image_size": 16, "device": "cpu", "precision": "fp32"}
IMAGES = np.random.default_rng(0).integers(0, 256, (8, 16, 16), dtype=np.uint8)
COLLAPSED = '''
"""A method with the same embedding for all images."""
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
        return Recipe({"name": "adamw", "lr": 1e-3, "weight_decay": 0}, {}, {})

    def forward(self, views, progress):
        embedding = self.encoder(views[0])
        return StepOutput(embedding.square().mean(), {}, embedding.detach() * 0 + 1)
'''


@pytest.fixture
def collapsed(tmp_path, monkeypatch):
    """Name of a method whose embeddings collapse at once."""
    (tmp_path / "faulty").mkdir()
    (tmp_path / "faulty" / "constant.py").write_text(COLLAPSED, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    return "faulty.constant"


def _train(method, out, **health):
    settings = {f"health.{name}": value for name, value in health.items()}
    return selfstudy.pretrain(IMAGES, method=method, out=out, set=settings, **QUICK)


def _readings(folder):
    lines = (folder / "health.jsonl").read_text().splitlines()
    return [(reading["step"], reading["verdict"]) for reading in map(json.loads, lines)]


def test_a_collapse_ends_the_run_where_that_is_asked_for(collapsed, tmp_path):
    with pytest.raises(TrainingError) as caught:
        _train(collapsed, tmp_path / "run", every=2, on_collapse="stop")
    assert str(caught.value).startswith("collapsed since step 2: all inputs get nearly the same embedding")
    assert "health.on_collapse is 'stop'" in str(caught.value)
    assert _readings(tmp_path / "run") == [(2, "collapsed")]


def test_a_collapse_is_only_recorded_otherwise(collapsed, tmp_path):
    _train(collapsed, tmp_path / "run", every=2)
    assert _readings(tmp_path / "run") == [(2, "collapsed"), (4, "collapsed")]


def test_a_plan_that_proves_wrong_is_made_again_from_the_first_step(tmp_path, monkeypatch):
    images = np.random.default_rng(0).integers(0, 256, (64, 64, 64), dtype=np.uint8)

    def cost(work, resolved, *, largest, seconds):
        # far too low at 64 px, about right at 32 px
        return StepCost(1e-4 if resolved.inputs.size == (64, 64) else 0.02, 0.0, 1e6, 1e3)

    slow = SimCLR.forward

    def forward(self, views, progress):
        time.sleep(0.25 if views[0].shape[-1] == 64 else 0)
        return slow(self, views, progress)

    monkeypatch.setattr("selfstudy.images.work.step_cost", cost)
    monkeypatch.setattr("selfstudy.runs.plan_check._STEPS", 1)
    monkeypatch.setattr("selfstudy.runs.plan_check._UNCOUNTED", 0)
    monkeypatch.setattr(SimCLR, "forward", forward)
    monkeypatch.setattr(Clock, "progress", lambda self, step: Progress(step, 1000 if step < 5 else step))
    given = {"method": "simclr", "encoder": "resnet10t", "batch_size": 4, "device": "cpu", "precision": "fp32"}
    run = selfstudy.pretrain(images, out=tmp_path / "run", minutes=1, set={"train.log_every": 1}, **given)
    config = (run.folder / "config.yaml").read_text()
    assert "image_size: [32, 32]  # planned again after " in config and ": a step took " in config
    assert "s, not 0.0001 s; measured: 0.02 s a step here" in config
    steps = [json.loads(line)["step"] for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    assert steps == [1, 2, 3, 4, 5]
    assert json.loads((run.folder / "encoder" / "config.json").read_text())["image_size"] == [32, 32]
