"""The stable and the falling part by hand."""

import pytest

from selfstudy.optim.shapes.wsd import WarmupStableDecay


def test_it_is_stable_and_then_falls_in_a_straight_line():
    shape = WarmupStableDecay(decay=0.5)
    assert [shape(done) for done in (0.0, 0.5, 0.75, 1.0)] == [1.0, 1.0, 0.5, 0.0]


def test_it_falls_in_the_last_fifth_by_default():
    assert [WarmupStableDecay()(done) for done in (0.8, 0.9, 1.0)] == pytest.approx([1.0, 0.5, 0.0])
