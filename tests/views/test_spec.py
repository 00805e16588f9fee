"""Specs: plain values that say what a method receives."""

import pytest

from selfstudy.views.spec import Draws, Labels, Tokens, View, is_small, one_each


@pytest.mark.parametrize(
    ("size", "small"), [((64, 64), True), ((32, 64), True), ((65, 32), False), ((32, 65), False), ((224, 224), False)]
)
def test_images_of_up_to_64_pixels_on_both_sides_are_small(size, small):
    assert is_small(size) is small


def test_a_view_taken_several_times_gives_as_many_tensors_and_all_else_one():
    large, small, draws = View((32, 32), count=2), View((16, 16), count=3), Draws(5)
    assert one_each([large, draws, small, Labels(), Tokens(8)]) == [large] * 2 + [draws] + [small] * 3 + [
        Labels(),
        Tokens(8),
    ]
    assert one_each([]) == []
