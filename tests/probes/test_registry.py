"""Probes are found by their file, and by the entry points of other packages."""

import pytest
import torch

import selfstudy.probes as room
from selfstudy.errors import UsageError
from selfstudy.probes import available, named
from selfstudy.probes.evaluation import Evaluation, Subject, evaluate
from selfstudy.probes.features import DenseFeatures, Features
from selfstudy.probes.finetune import Task
from selfstudy.probes.sts import Similarities
from tests.probes.test_evaluation import QUIET

CENTROID = '''"""The class of the nearest centroid."""

import torch

from selfstudy.probes.features import Features
from selfstudy.probes.results import Score


def measure(features: Features) -> list[Score]:
    centres = torch.stack([features.train[features.targets == k].mean(0) for k in range(features.classes)])
    return [features.score("nearest-centroid", torch.cdist(features.test, centres).argmin(dim=1), "nearest centroid")]
'''


@pytest.fixture
def fresh():
    """Forgets what was found, before and after."""
    available.cache_clear()
    yield
    available.cache_clear()


def test_every_probe_file_is_found_and_says_what_it_measures():
    assert list(available()) == ["finetune", "knn", "linear", "low-shot", "retrieval", "sts"]
    needs = {probe.name: probe.needs for probe in named(list(available()))}
    assert needs == {
        "finetune": Task, "sts": Similarities,
        **dict.fromkeys(("knn", "linear", "low-shot", "retrieval"), Features),
    }  # fmt: skip


def test_an_unknown_probe_is_refused_with_a_suggestion():
    with pytest.raises(UsageError, match="unknown probe 'liner'; did you mean 'linear'") as caught:
        named(["knn", "liner"])
    assert "known: finetune, knn, linear, low-shot, retrieval, sts" in str(caught.value)


def test_a_probe_is_one_new_file_and_no_edit(tmp_path, monkeypatch, fresh):
    (tmp_path / "nearest_centroid.py").write_text(CENTROID, encoding="utf-8")
    (tmp_path / "no_probe.py").write_text("def other(): ...\n", encoding="utf-8")
    monkeypatch.setattr(room, "__file__", str(tmp_path / "__init__.py"))
    monkeypatch.setattr(room, "__path__", [str(tmp_path)])
    assert list(available()) == ["nearest-centroid"]
    (probe,) = named(["nearest-centroid"])
    labels = torch.arange(6) % 2
    train = torch.eye(2)[labels]
    subject = Subject("x", {Features: lambda: DenseFeatures("x", train, labels, train, labels)})
    (score,) = evaluate(Evaluation("", [subject]), [probe], console=QUIET)
    assert (score.probe, score.accuracy, score.protocol) == ("nearest-centroid", 100.0, "nearest centroid")


def _install(tmp_path, monkeypatch, target, code, name="nearest-centroid"):
    """Another package with one entry point."""
    (tmp_path / "centroids.py").write_text(code, encoding="utf-8")
    about = tmp_path / "centroids-2.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: centroids\nVersion: 2.0\n", encoding="utf-8")
    (about / "entry_points.txt").write_text(f"[selfstudy.probes]\n{name} = {target}\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "centroids", raising=False)


@pytest.mark.parametrize("target", ["centroids", "centroids:measure"])
def test_another_package_adds_a_probe_by_an_entry_point(tmp_path, monkeypatch, fresh, target):
    _install(tmp_path, monkeypatch, target, CENTROID)
    assert available()["nearest-centroid"].origin == "centroids 2.0" and "knn" in available()
    (probe,) = named(["nearest-centroid"])
    assert probe.needs is Features


def test_a_probe_of_another_package_does_not_take_the_name_of_ours(tmp_path, monkeypatch, fresh, capsys):
    _install(tmp_path, monkeypatch, "centroids", CENTROID, name="knn")
    assert available()["knn"].origin == "selfstudy"
    assert "'knn' of centroids 2.0 is not used: the name is taken by selfstudy" in capsys.readouterr().err


NO_PROBES = ["measure = 3", "def measure(a): ...", "def measure(a: int, b: int): ...", "def measure(a: 'Unknown'): ..."]


@pytest.mark.parametrize("code", NO_PROBES)
def test_an_entry_point_that_is_no_probe_is_refused(tmp_path, monkeypatch, fresh, code):
    _install(tmp_path, monkeypatch, "centroids", code)
    with pytest.raises(
        UsageError, match="of centroids 2.0: centroids is no function of one argument with a type\nwrit"
    ):
        named(["nearest-centroid"])
