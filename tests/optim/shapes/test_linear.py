"""The linear shape by hand."""

import pytest

from selfstudy.optim.shapes.linear import Linear


def test_it_falls_in_a_straight_line():
    assert [Linear()(done) for done in (0.0, 0.25, 1.0)] == pytest.approx([1.0, 0.75, 0.0])
