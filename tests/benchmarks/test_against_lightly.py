"""Tests of the comparison with lightly that do not need lightly: tasks, the loop of a peer, the table."""

import importlib
import json

import pytest
import torch
from torch import nn

from selfstudy.config import validate
from selfstudy.errors import TrainingError
from selfstudy.images.config import ImageRunConfig
from selfstudy.images.resolve import resolve
from selfstudy.images.work import open_data
from selfstudy.methods import method_class
from tests.benchmarks.made_up import record


@pytest.fixture
def against():
    return importlib.import_module("against_lightly")


class TinyPeer(nn.Module):
    """A peer whose loss falls when its weight grows; it records its calls."""

    def __init__(self, loss=None):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.calls, self.loss = [], loss

    def forward(self, views, fraction):
        self.calls.append((len(views), round(fraction, 2)))
        return -self.weight + (0.0 if self.loss is None else self.loss)

    def before_step(self, fraction):
        self.calls.append("before step")

    def learning_rate(self, fraction):
        return 1 - fraction

    def optimizer(self):
        return torch.optim.SGD(self.parameters(), lr=1.0)


def views_without_end():
    while True:
        yield [torch.zeros(4, 3, 8, 8)] * 2


def test_a_method_runs_on_every_side_before_the_next_method(against, data, tmp_path):
    arguments = ["--data", str(data), "--out", str(tmp_path), "--only", "simclr,barlow_twins", "--seeds", "0"]
    names = [task.name for task in against.tasks(against.parse(arguments))]
    assert names[:3] == [
        "simclr-selfstudy-seed0",
        "simclr-lightly-example-lightly_views-seed0",
        "simclr-lightly-cifar10-lightly_views-seed0",
    ]
    assert len(names) == 6


def test_our_side_uses_our_views_whatever_views_lightly_gets(against, data, tmp_path):
    arguments = ["--data", str(data), "--out", str(tmp_path), "--only", "dino", "--views", "selfstudy"]
    tasks = against.tasks(against.parse(arguments))
    assert {task.facts["views"] for task in tasks} == {"selfstudy"}
    assert tasks[0].facts["encoder"] == tasks[1].facts["encoder"] == "resnet10t"


def test_a_peer_is_trained_for_the_budget_with_its_own_schedule(against):
    peer = TinyPeer()
    trained = against.train(peer, views_without_end(), "4 steps", images=40, batch_size=4)
    assert (trained.steps, trained.images) == (4, 16) and trained.seconds > 0
    assert peer.calls[::2] == [(2, 0.0), (2, 0.25), (2, 0.5), (2, 0.75)] and peer.calls[1] == "before step"
    assert float(peer.weight.detach()) == 1 + 0.75 + 0.5 + 0.25
    assert trained.loss == -2.25  # of the last forward pass, before its step


def test_a_peer_that_diverges_is_stopped(against):
    with pytest.raises(TrainingError, match="the loss became nan at step 1"):
        against.train(TinyPeer(float("nan")), views_without_end(), "4 steps", images=40, batch_size=4)


def test_our_views_reach_a_peer_as_our_own_loop_renders_them(against, data):
    settings = {"data": {"path": str(data)}, "encoder": {"name": "resnet10t"}, "train": {"duration": "2 steps"}}
    config = validate(ImageRunConfig, settings)
    opened = open_data(str(data), config.data, against.Console(quiet=True))
    resolved = resolve(config, opened.scan, method_class("simclr"))
    normalization = (resolved.config.data.mean, resolved.config.data.std)
    views = next(against.our_batches(opened, resolved, 8, normalization))
    assert [tuple(view.shape) for view in views] == [(8, 3, 16, 16)] * 2
    assert not torch.equal(views[0], views[1])
    again = next(against.our_batches(opened, resolved, 8, normalization))
    assert torch.equal(views[0], again[0])


def test_our_side_is_measured_and_appears_in_the_table(against, data, tmp_path, capsys):
    out = tmp_path / "out"
    arguments = [
        "--data",
        str(data),
        "--out",
        str(out),
        "--only",
        "simclr",
        "--sides",
        "selfstudy",
        "--steps",
        "1",
        "--precision",
        "fp32",
    ]
    against.main(arguments)
    found = json.loads((out / "simclr-selfstudy-seed0.json").read_text())
    assert found["steps"] == 1 and found["set_up_seconds"] > 0
    assert {score["probe"] for score in found["scores"]} == {"knn", "knn-whitened", "linear"}
    against.main(["--out", str(out), "--table"])
    assert "| simclr | resnet10t | selfstudy | selfstudy | fp32 | 1 steps | 0 |" in capsys.readouterr().out


def test_the_table_puts_sides_together_and_averages_seeds(against):
    peer = {"side": "example", "views": "lightly", "lightly": "1.6.0", "images": 3000, "train_seconds": 3.0}
    found = [
        record(seed=0, knn=40.0, **peer),
        record(seed=1, knn=42.0, **peer),
        record(side="selfstudy", views="selfstudy", set_up_seconds=9.0),
    ]
    ours, theirs = (line for line in against.table(found).splitlines() if "simclr" in line)
    assert "| selfstudy | selfstudy | bf16 | 3 minutes | 0 | 50.0 |" in ours and ours.endswith("| 9 |")
    assert "| lightly 1.6.0, example | lightly | bf16 | 3 minutes | 0, 1 | 41.0 ± 1.4 |" in theirs
    assert theirs.endswith("| 1,000 | – |")
