import pytest

from selfstudy.ops.schedules import Constant, Cosine, Curve, Linear, Progress, half_cosine


def test_cosine_by_hand():
    schedule = Cosine(1.0, 0.2)
    assert schedule(Progress(0, 100)) == 1.0
    assert schedule(Progress(50, 100)) == pytest.approx(0.6)
    assert schedule(Progress(100, 100)) == pytest.approx(0.2)


def test_warm_up_rises_in_equal_steps_and_wastes_none():
    schedule = Cosine(1.0, warmup=0.1)
    assert [round(schedule(Progress(step, 100)), 6) for step in range(11)] == [n / 10 for n in range(1, 11)] + [1.0]


def test_linear_by_hand_and_flat_afterwards():
    schedule = Linear(0.04, 0.07, until=0.5)
    values = [schedule(Progress(step, 100)) for step in (0, 25, 50, 90)]
    assert values == pytest.approx([0.04, 0.055, 0.07, 0.07])


def test_constant_and_fraction_stay_in_range():
    assert Constant(3.0)(Progress(7, 9)) == 3.0
    assert Progress(12, 10).fraction == 1.0
    assert Progress(0, 0).fraction == 0.0


def test_a_curve_follows_its_shape_from_start_to_end():
    curve = Curve(2.0, 1.0, shape=lambda done: 1 - done)
    assert [curve(Progress(step, 100)) for step in (0, 25, 100)] == pytest.approx([2.0, 1.75, 1.0])
    assert half_cosine(0.5) == pytest.approx(0.5)


def test_a_warm_up_may_start_above_zero():
    curve = Curve(1.0, warmup=0.1, warmup_from=0.5)
    assert [curve(Progress(step, 100)) for step in (0, 4, 9)] == pytest.approx([0.55, 0.75, 1.0])
