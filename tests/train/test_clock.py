import time

import pytest

from selfstudy.ops.duration import Duration
from selfstudy.ops.schedules import Cosine
from selfstudy.train.clock import Clock


def test_a_budget_in_steps_counts_steps():
    clock = Clock.of(Duration.parse("2 epochs"), steps_per_epoch=5, batch_size=8)
    assert clock.progress(3) == (3, 10)
    assert not clock.is_over(clock.progress(9))
    assert clock.is_over(clock.progress(10))


def test_under_a_budget_in_minutes_the_fraction_is_the_share_of_the_time_used():
    clock = Clock.of(Duration.parse("10 minutes"), steps_per_epoch=5, batch_size=8, elapsed_seconds=150)
    assert clock.progress(1000).fraction == pytest.approx(0.25, abs=1e-3)
    assert clock.remaining_seconds(clock.progress(1000)) == pytest.approx(450, abs=1)


def test_when_the_time_is_up_training_is_over_and_the_schedule_has_ended():
    clock = Clock.of(Duration.parse("0.001 minutes"), steps_per_epoch=5, batch_size=8)
    assert not clock.is_over(clock.progress(0))  # one step is always taken
    time.sleep(0.07)
    progress = clock.progress(7)
    assert clock.is_over(progress)
    assert Cosine(1.0)(progress) == pytest.approx(0.0)


def test_a_resumed_clock_goes_on_from_the_time_already_used():
    clock = Clock.of(Duration.parse("1 minutes"), steps_per_epoch=5, batch_size=8, elapsed_seconds=61)
    assert clock.is_over(clock.progress(12))


def test_a_clock_that_begins_again_has_used_what_earlier_runs_used_and_no_more():
    clock = Clock.of(Duration.parse("1 minutes"), steps_per_epoch=5, batch_size=8, elapsed_seconds=15)
    time.sleep(0.2)
    assert clock.elapsed_seconds >= 15.2
    clock.begin_again()
    assert 15 <= clock.elapsed_seconds < 15.2
    assert clock.progress(100).fraction == pytest.approx(0.25, abs=1e-2)
