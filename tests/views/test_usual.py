"""Views that several methods share."""

from selfstudy.views.usual import asymmetric_pair, mild, mild_pair, strong_pair


def test_mild_views_are_one_spec_taken_several_times():
    view = mild((224, 224), 4)
    assert (view.count, view.blur, view.scale) == (4, 0.5, (0.2, 1.0)) and mild((32, 32), 2).blur == 0
    assert mild_pair((32, 32)) == [mild((32, 32), 2)]


def test_strong_views_of_small_images_have_half_the_colour_and_no_blur():
    (large,), (small,) = strong_pair((224, 224)), strong_pair((32, 32))
    assert (large.count, large.blur, large.scale) == (2, 0.5, (0.08, 1.0))
    assert (small.count, small.blur, small.scale) == (2, 0.0, (0.2, 1.0))
    assert small.jitter == tuple(value / 2 for value in large.jitter)


def test_one_view_is_always_blurred_the_other_seldom_and_sometimes_solarized():
    first, second = asymmetric_pair((224, 224))
    assert (first.blur, first.solarize) == (1.0, 0.0) and (second.blur, second.solarize) == (0.1, 0.2)
    assert first.size == second.size == (224, 224) and first.scale == second.scale == (0.08, 1.0)


def test_small_images_are_not_blurred_and_keep_a_fifth_of_their_area():
    for view in asymmetric_pair((32, 64)):
        assert view.blur == 0 and view.scale == (0.2, 1.0)
