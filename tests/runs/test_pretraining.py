"""A run from its settings to its end: what stops it."""

import json
import shutil

import numpy as np
import pytest

import selfstudy
from selfstudy.errors import FileRefusedError, TrainingError

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


@pytest.fixture(scope="module")
def simclr(tmp_path_factory):
    return selfstudy.pretrain(IMAGES, out=tmp_path_factory.mktemp("simclr") / "run", **QUICK | {"steps": 1}).folder


@pytest.mark.parametrize(
    ("text", "says"),
    [(None, "No such file"), ('{"data_fing', "not readable as JSON"), ("{}", "'data_fingerprint' is missing")],
)
def test_a_run_whose_environment_is_damaged_is_not_resumed(simclr, tmp_path, text, says):
    folder = shutil.copytree(simclr, tmp_path / "run")
    (folder / "environment.json").unlink()
    if text is not None:
        (folder / "environment.json").write_text(text)
    with pytest.raises(FileRefusedError, match=f"environment.json: {says}"):
        selfstudy.pretrain(IMAGES, out=folder, resume=True, **QUICK | {"steps": 1})
