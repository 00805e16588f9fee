"""The outputs of training: speed, the metrics file, the progress line."""

import io
import json

import pytest
from rich.console import Console
from torch import nn

from selfstudy.ops.schedules import Progress
from selfstudy.train.monitor import MetricsLog, Observation, ProgressBar, Throughput, Unit


def step(number=1, *, total=100, inputs=32, wait=0.0, seconds=1.0, remaining=0.0, loss=1.0):
    return Observation(
        progress=Progress(number, total),
        loss=loss,
        metrics={"learning_rate": 0.5},
        embedding=None,
        views=[],
        encoder=nn.Identity(),
        inputs=inputs,
        wait_seconds=wait,
        seconds=seconds,
        remaining_seconds=remaining,
    )


def test_speed_and_waiting_are_over_the_last_steps_only():
    throughput = Throughput(Unit("tokens", per_input=10), window=2)
    assert throughput.update(step(inputs=4, seconds=2.0, wait=1.0)) == (20.0, 0.5)
    assert throughput.update(step(inputs=4, seconds=6.0, wait=1.0)) == (10.0, 0.25)
    assert throughput.update(step(inputs=8, seconds=2.0, wait=3.0)) == (15.0, 0.5)  # the first is forgotten


def test_a_step_without_any_time_has_a_finite_speed():
    assert Throughput().update(step(inputs=1, seconds=0.0, wait=1e-9)) == (pytest.approx(1e9), 1.0)


def test_speed_is_over_fifty_steps_unless_told_otherwise():
    throughput = Throughput()
    speeds = [throughput.update(step(inputs=inputs)) for inputs in (100, *[0] * 50)]
    assert speeds[49] == (2.0, 0.0) and speeds[50] == (0.0, 0.0)


def test_the_default_unit_is_one_image():
    assert Throughput().update(step(inputs=6, seconds=2.0)) == (3.0, 0.0)
    assert Unit() == ("images", 1)


def test_metrics_are_written_every_few_steps_and_at_the_last(tmp_path, monkeypatch):
    monkeypatch.setattr("selfstudy.train.monitor.time.time", lambda: 1234.56789)
    log = MetricsLog(tmp_path / "metrics.jsonl", every=3, unit=Unit("tokens", per_input=2))
    for number in range(1, 8):
        log(step(number, total=7, wait=0.37, seconds=3.0, loss=1 / number))
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [3, 6, 7]
    assert list(lines[0]) == ["step", "total", "loss", "learning_rate", "tokens_per_second", "data_wait", "time"]
    assert lines[0] == {
        "step": 3,
        "total": 7,
        "loss": 1 / 3,
        "learning_rate": 0.5,
        "tokens_per_second": 21.3,
        "data_wait": 0.1233,
        "time": 1234.568,
    }


def test_without_a_terminal_a_plain_line_comes_every_twentieth_of_training():
    out = io.StringIO()
    bar = ProgressBar(Console(file=out, width=200), Unit("tokens", per_input=2))
    for number in range(1, 201):
        bar.show(step(number, total=200, wait=0.25, remaining=125.4, loss=2.34567), ["rank 5 healthy"])
    bar.close()
    lines = out.getvalue().rstrip("\n").split("\n")
    assert [line.split(" ")[1] for line in lines[:3]] == ["1/200", "10/200", "20/200"] and len(lines) == 21
    assert lines[-1] == ("step 200/200 · loss 2.3457 · 64 tokens/s · data wait 25% · 2:05 left · rank 5 healthy")


def test_on_a_terminal_one_live_line_is_drawn_and_removed():
    out = io.StringIO()
    bar = ProgressBar(Console(file=out, width=200, force_terminal=True))
    bar.show(step(1, total=2), [])
    bar.show(step(2, total=2), [])
    bar.close()
    assert "step 2/2 · loss 1.0000" in out.getvalue() and bar._bar.finished
    assert out.getvalue().endswith("\x1b[1A\x1b[2K")  # up one line, erase it


@pytest.mark.parametrize("closed", [1, 2])
def test_a_bar_that_was_never_shown_can_be_closed(closed):
    bar = ProgressBar(Console(file=io.StringIO()))
    for _ in range(closed):
        bar.close()


def test_a_pass_of_every_stage_is_printed_in_quarters(capsys):
    bar = ProgressBar(Console(width=100), Unit())
    for stage in ("first", "second"):
        for done in range(1, 9):
            bar.show_pass(stage, done, 8, 2.0 * done)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" · ")[0] for line in lines if line.startswith("second")] == [
        f"second: {done}/8 images" for done in (1, 2, 4, 6, 8)
    ]
    assert "first: 2/8 images · 0/s · 0:12 left" in lines
