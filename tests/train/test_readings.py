"""Readings are taken before the first step and a dozen times after it, and cost training nothing."""

import io

import pytest
import torch
from rich.console import Console
from torch import nn

from selfstudy.errors import DataError
from selfstudy.ops.schedules import Progress
from selfstudy.probes.evaluation import Subject
from selfstudy.probes.features import DenseFeatures, Features
from selfstudy.train.clock import Clock
from selfstudy.train.monitor import Observation
from selfstudy.train.readings import EvalSet, Readings

LABELS = torch.arange(40) % 2


def _features(name, signal):
    """Features whose share of the class is ``signal``."""
    noise = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    x = torch.cat([signal * (2.0 * LABELS[:, None] - 1), noise], dim=1)
    return lambda: DenseFeatures(name, x[:20], LABELS[:20], x[20:], LABELS[20:])


def _subject(name, signal, *, free=False):
    return Subject(name, {Features: _features(name, signal)}, free=free)


class _Lab:
    """Readings whose lines are kept, with the time and the encoder in our hands."""

    def __init__(self, monkeypatch, *, seconds=0.0, subject=lambda encoder: _subject("encoder", 9.0)):
        self.now, self.lines, self.out = 1000.0, [], io.StringIO()
        monkeypatch.setattr("selfstudy.train.readings.time.monotonic", lambda: self.now)
        monkeypatch.setattr("selfstudy.train.clock.time.monotonic", lambda: self.now)
        self.clock = Clock(None, minutes=10)

        def slow(encoder):
            self.now += seconds
            return subject(encoder)

        free = [_subject("raw pixels", 0.0, free=True), _subject("colours", 9.0, free=True)]
        self.readings = Readings(
            EvalSet("20 images in the bank, 20 asked", free, slow),
            lambda: nn.Identity(),
            self.lines.extend,
            clock=lambda: self.clock,
            console=Console(file=self.out, width=200),
        )

    def steps(self, first, last, total):
        for number in range(first, last + 1):
            note = self.readings(_observation(number, total))
        return note

    def read_at(self):
        return list(dict.fromkeys(line["step"] for line in self.lines if line["step"] is not None))


def _observation(step, total):
    return Observation(Progress(step, total), 1.0, {}, None, [], nn.Identity(), 4, 0.0, 1.0, 0.0)


@pytest.mark.parametrize(
    ("total", "wanted"),
    [(1200, [0, *range(100, 1201, 100)]), (4, [0, 1, 2, 3, 4]), (14, [0, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14])],
)
def test_readings_are_spaced_in_progress_with_one_before_the_first_step_and_one_after_the_last(
    monkeypatch, total, wanted
):
    lab = _Lab(monkeypatch)
    lab.readings.begin(resumed=False, known=False)
    assert lab.lines == []  # nothing is written until training begins
    assert lab.steps(1, total, total) == "k-NN 100.0 %"
    assert lab.read_at() == wanted and lab.readings.count == len(wanted)


def test_the_best_free_row_is_measured_once_and_stands_first(monkeypatch):
    lab = _Lab(monkeypatch)
    lab.readings.begin(resumed=False, known=False)
    lab.steps(1, 12, 12)
    rows = [line for line in lab.lines if line["step"] is None]
    assert lab.lines[: len(rows)] == rows and len({line["probe"] for line in rows}) == len(rows)
    assert rows[0] == {"step": None, "row": "colours", "free": True, "probe": "knn", "value": 100.0}
    assert "readings 20 images in the bank, 20 asked; free: k-NN 100.0 % (colours)" in lab.out.getvalue()


def test_a_line_has_the_interval_and_a_protocol_that_says_that_training_goes_on(monkeypatch):
    lab = _Lab(monkeypatch)
    lab.readings.begin(resumed=False, known=True)
    lab.now += 7
    lab.steps(1, 1, 1)
    line = next(one for one in lab.lines if one["step"] == 1 and one["probe"] == "knn")
    assert list(line) == ["step", "seconds", "probe", "value", "low", "high", "protocol"]
    assert line["seconds"] == 7.0 and line["low"] < line["value"] == line["high"] == 100.0
    assert "model in training" in line["protocol"] and "20 train / 20 test" in line["protocol"]
    assert "reading  step 1: k-NN 100.0 %" in lab.out.getvalue()


def test_a_resumed_run_takes_the_next_reading(monkeypatch):
    lab = _Lab(monkeypatch)
    lab.readings.begin(resumed=True, known=True)
    assert lab.steps(55, 60, 120) == "k-NN 100.0 %"
    assert lab.read_at() == [60]
    lab = _Lab(monkeypatch)
    lab.readings.begin(resumed=True, known=False)
    lab.steps(55, 55, 120)
    assert [line["step"] for line in lab.lines if line["probe"] == "knn"] == [None]


def test_the_clock_does_not_count_readings(monkeypatch):
    lab = _Lab(monkeypatch, seconds=5.0)
    lab.readings.begin(resumed=False, known=True)
    lab.clock = Clock(None, minutes=10)
    lab.now += 60
    assert lab.clock.elapsed_seconds == 60
    lab.steps(1, 1, 2)
    assert lab.clock.elapsed_seconds == 60 and lab.readings.seconds == 10.0


def test_embeddings_that_cannot_be_read_do_not_stop_training(monkeypatch):
    lab = _Lab(monkeypatch, subject=lambda encoder: _subject("encoder", torch.nan))
    lab.readings.begin(resumed=False, known=True)
    assert lab.steps(1, 1, 1) == "none: encoder: 20 of 20 feature vectors hold NaN or infinity"
    assert lab.lines == []


def test_labels_that_cannot_be_read_are_refused_before_training(monkeypatch):
    lab = _Lab(monkeypatch)
    monkeypatch.setattr(DenseFeatures, "__init__", _refuse)
    with pytest.raises(DataError, match="no good"):
        lab.readings.begin(resumed=False, known=False)


def _refuse(*parts, **settings):
    raise DataError("no good")
