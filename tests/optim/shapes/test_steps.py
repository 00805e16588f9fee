"""The staircase by hand."""

import pytest

from selfstudy.optim.shapes.steps import Steps


def test_it_drops_at_its_points_and_nowhere_else():
    shape = Steps(at=[0.25, 0.75], factor=0.5)
    assert [shape(done) for done in (0.0, 0.24, 0.25, 0.74, 0.75, 1.0)] == [1.0, 1.0, 0.5, 0.5, 0.25, 0.25]


def test_it_divides_by_ten_twice_by_default():
    found = [Steps()(done) for done in (0.49, 0.5, 0.74, 0.75, 1.0)]
    assert found == pytest.approx([1.0, 0.1, 0.1, 0.01, 0.01])
