"""The constant shape."""

from selfstudy.optim.shapes.constant import Constant


def test_it_stays_at_the_peak():
    assert {Constant()(done / 10) for done in range(11)} == {1.0}
