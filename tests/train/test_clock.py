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


@pytest.mark.parametrize("duration", ["1 minutes", "100 steps"])
def test_time_that_is_left_out_was_not_used(duration, now):
    clock = Clock.of(Duration.parse(duration), steps_per_epoch=5, batch_size=8, elapsed_seconds=15)
    now[0] += 20
    clock.leave_out(5)
    assert clock.elapsed_seconds == 30
    assert clock.progress(50).fraction == 0.5


@pytest.fixture
def now(monkeypatch):
    """The time, in seconds, that clocks read; set it by ``now[0]``."""
    time_of_day = [1000.0]
    monkeypatch.setattr("selfstudy.train.clock.time.monotonic", lambda: time_of_day[0])
    return time_of_day


@pytest.mark.parametrize(
    ("elapsed", "total"), [(59.999, 8), (60.0, 7), (60.001, 7), (50.0, 8), (30.0, 14), (0.0, 7_000_000)]
)
def test_training_ends_when_the_time_is_up_and_not_before(now, elapsed, total):
    clock = Clock(None, minutes=1)
    now[0] += elapsed
    progress = clock.progress(7)
    assert progress == (7, total)
    assert clock.is_over(progress) == (elapsed >= 60)
    assert clock.remaining_seconds(progress) == pytest.approx(max(0.0, 60 - elapsed))


def test_one_step_is_taken_even_without_any_time(now):
    clock = Clock(None, minutes=1, elapsed_seconds=100)
    assert not clock.is_over(clock.progress(0)) and clock.is_over(clock.progress(1))


def test_under_a_budget_in_steps_the_time_left_follows_from_the_steps_so_far(now):
    clock = Clock(10, None, elapsed_seconds=20)
    now[0] += 10
    assert clock.elapsed_seconds == 30
    assert clock.remaining_seconds(clock.progress(6)) == pytest.approx(20)
    assert clock.remaining_seconds(clock.progress(0)) == pytest.approx(300)


def test_a_budget_in_minutes_starts_with_an_assumed_total(now):
    clock = Clock.of(Duration.parse("1 minutes"), steps_per_epoch=5, batch_size=8)
    assert clock.elapsed_seconds == 0
    assert clock.progress(0) == (0, 1000)


def test_a_budget_in_minutes_holds_what_came_before_the_first_step_and_what_comes_after_the_last(now):
    now[0] += 20  # importing and scanning
    clock = Clock(None, minutes=2, began=1000.0, reserve=10)
    now[0] += 45
    assert clock.elapsed_seconds == 65 and clock.remaining_seconds(clock.progress(9)) == 45
    assert clock.progress(9) == (9, 18)  # schedules follow the 90 seconds for steps
    now[0] += 45
    assert clock.is_over(clock.progress(18))


def test_compiling_is_in_the_budget_and_moves_no_schedule(now):
    clock = Clock(None, minutes=2, began=1000.0)
    now[0] += 60
    clock.begin_again()
    now[0] += 15
    assert clock.progress(10).fraction == pytest.approx(0.25)
    assert clock.elapsed_seconds == 75


def test_a_resumed_budget_in_minutes_counts_this_start_and_the_seconds_before(now):
    now[0] += 10
    clock = Clock(None, minutes=2, elapsed_seconds=60, began=1000.0, reserve=5)
    assert clock.elapsed_seconds == 70 and clock.remaining_seconds(clock.progress(5)) == 45


def test_a_budget_that_was_used_up_before_the_first_step_holds_one_step(now):
    now[0] += 70
    clock = Clock(None, minutes=1, began=1000.0)
    assert not clock.is_over(clock.progress(0)) and clock.is_over(clock.progress(1))


def test_under_a_budget_in_steps_only_the_steps_count(now):
    now[0] += 20
    clock = Clock(10, None, began=1000.0, elapsed_seconds=5)
    now[0] += 7
    assert clock.elapsed_seconds == 12
    clock.begin_again()
    assert clock.elapsed_seconds == 5
