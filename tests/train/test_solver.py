"""The run of a solved method: its stages, a checkpoint after each, and a run that is stopped and continued."""

import json
import os
import signal

import numpy as np
import pytest
import torch
from rich.console import Console

import selfstudy
from selfstudy.data.batches import Passes
from selfstudy.disk.tensor_file import read_tensors
from selfstudy.errors import DataError, Interrupted
from selfstudy.methods.patches import Patches
from selfstudy.train.solver import _Counted

FEW = {"method.filters": [8, 8], "method.dimensions": 6}


@pytest.fixture(autouse=True)
def _few_patches(monkeypatch):
    monkeypatch.setattr("selfstudy.methods.patches._PATCHES", 2_000)


def _solve(out, images=None, **more):
    images = np.random.default_rng(0).integers(0, 256, (40, 12, 12, 3), dtype=np.uint8) if images is None else images
    return selfstudy.pretrain(images, method="patches", out=out, device="cpu", set=FEW, **more)


def _lines(out):
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def _states(out):
    return [read_tensors(file) for file in sorted(out.glob("checkpoints/step-*/model.safetensors"))]


def _same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_every_stage_has_a_line_in_the_log_and_a_checkpoint(tmp_path):
    run = _solve(tmp_path / "run")
    lines, (filters, whole) = _lines(run.folder), _states(run.folder)
    assert [(line["step"], line["total"], line["loss"]) for line in lines] == [(1, 2, None), (2, 2, None)]
    assert lines[0]["patches"] == 2_000 and lines[1]["images"] == 40 and 0 < lines[1]["variance_kept"] <= 1
    assert filters["encoder.network.scales.0.kernels"].abs().sum() > 0 == filters["encoder.network.projection"].sum()
    assert whole["encoder.network.projection"].abs().sum() > 0


def test_embeddings_of_the_training_images_are_uncorrelated_and_ordered_by_variance(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (40, 12, 12, 3), dtype=np.uint8)
    found = _solve(tmp_path / "run", images).encoder.embed(images)
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=1e-4)
    covariance = np.cov(found.T, bias=True)
    np.testing.assert_allclose(covariance, np.diag(np.diag(covariance)), atol=1e-3)
    assert (np.diff(np.diag(covariance)) < 0).all()


@pytest.mark.parametrize("stage", [0, 1])
def test_a_run_that_is_stopped_in_a_stage_keeps_those_before_and_resumes_bit_for_bit(tmp_path, monkeypatch, stage):
    wanted = _states(_solve(tmp_path / "straight").folder)[-1]
    original = Patches.solve

    def interrupted(self, number, read, *, seed):
        if number == stage:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, number, read, seed=seed)

    monkeypatch.setattr(Patches, "solve", interrupted)
    with pytest.raises(Interrupted, match=f"stopped by SIGTERM in stage '{Patches.stages[stage]}'; the stages before"):
        _solve(tmp_path / "run")
    assert len(_states(tmp_path / "run")) == stage
    monkeypatch.undo()
    monkeypatch.setattr("selfstudy.methods.patches._PATCHES", 2_000)
    resumed = _solve(tmp_path / "run", resume=True)
    assert _same(_states(resumed.folder)[-1], wanted) and [line["step"] for line in _lines(resumed.folder)] == [1, 2]


def test_a_finished_run_that_is_resumed_stays_as_it_is(tmp_path):
    before = _states(_solve(tmp_path / "run").folder)
    after = _states(_solve(tmp_path / "run", resume=True).folder)
    assert (
        all(_same(one, other) for one, other in zip(before, after, strict=True)) and len(_lines(tmp_path / "run")) == 2
    )


@pytest.mark.parametrize(
    ("images", "text"),
    [
        (np.full((40, 12, 12, 3), 7, np.uint8), "every image is one flat colour: there is nothing to tell apart"),
        (
            np.arange(5 * 432, dtype=np.uint8).reshape(5, 12, 12, 3),
            "an embedding of 6 numbers needs more images than t",
        ),
    ],
    ids=["constant", "few"],
)
def test_images_that_cannot_be_solved_are_refused(tmp_path, images, text):
    with pytest.raises(DataError, match=text):
        _solve(tmp_path / "run", images)


def test_the_closing_line_counts_stages(tmp_path, capsys):
    _solve(tmp_path / "run", console=Console())
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].startswith("done     2 stages in") and any(line.startswith("map: 40/40 images") for line in lines)


def test_a_pass_ends_when_the_budget_is_used_up_but_not_before_a_tenth_of_the_inputs():
    batches = lambda at_most, failed: (torch.zeros(5, 1) for _ in range(at_most // 5))  # noqa: E731
    late = _Counted(Passes(100, batches), lambda *_: None, until=0.0)
    assert sum(map(len, late())) == late.cut == 10
    assert sum(map(len, late(20))) == 20  # a pass over some inputs is whole
    early = _Counted(Passes(100, batches), lambda *_: None, until=None)
    assert sum(map(len, early())) == 100 and not early.cut
