import pytest
import torch

from selfstudy.errors import UsageError
from selfstudy.views.augment import augment
from selfstudy.views.presets import PRESETS, changed
from selfstudy.views.spec import Draws, View

SPECS = [View((8, 8), count=2, jitter=(0.4, 0.4, 0.4, 0.1), blur=0.5), Draws(3), View((4, 4), scale=(0.05, 0.25))]


def test_auto_changes_nothing():
    assert changed(SPECS, "auto") == SPECS


def test_none_shows_the_image_as_it_is():
    image = torch.rand(5, 3, 8, 8)
    view = changed(SPECS, "none")[0]
    torch.testing.assert_close(augment(image, view, torch.arange(5)), image)


@pytest.mark.parametrize("size", [(12, 8), (9, 16)])
def test_none_stretches_no_image(size):
    view = changed([View(size)], "none")[0]
    image = torch.rand(5, 3, *size)
    torch.testing.assert_close(augment(image, view, torch.arange(5)), image)
    square = torch.arange(48.0).expand(1, 3, 48, 48) / 48  # a gradient from left to right
    slope = augment(square, view, torch.arange(1))[0, 0].diff(dim=1)[:, 1:-1]  # per pixel of the view
    torch.testing.assert_close(slope, torch.full_like(slope, 1 / max(size)))


@pytest.mark.parametrize("name", PRESETS)
def test_presets_keep_sizes_counts_and_draws(name):
    for new, old in zip(changed(SPECS, name), SPECS, strict=True):
        assert new == old if isinstance(old, Draws) else (new.size, new.count) == (old.size, old.count)


def test_satellite_views_are_turned_upside_down_and_weak_ones_keep_their_colours():
    assert changed(SPECS, "satellite")[0].vertical_flip == 0.5
    weak = changed(SPECS, "weak")[0]
    assert not any(weak.jitter) and weak.blur == 0 and weak.scale == SPECS[0].scale


def test_fields_are_set_in_every_view_or_in_each():
    assert [s.flip for s in changed(SPECS, {"flip": 0.1}) if isinstance(s, View)] == [0.1, 0.1]
    each = changed(SPECS, [{"scale": [0.5, 1]}, {"size": [6, 6], "count": 4}])
    assert each[0].scale == (0.5, 1.0) and each[2].size == (6, 6) and each[2].count == 4 and each[1] == SPECS[1]


def test_the_bounds_of_a_field_are_allowed():
    most = {"scale": [1, 1], "ratio": [2, 2], "blur_sigma": [0.1, 0.1], "jitter": [2, 2, 2, 0.5], "flip": 1, "blur": 0}
    assert changed(SPECS, most)[0].jitter == (2.0, 2.0, 2.0, 0.5)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_can_be_written_as_fields(name):
    preset = changed(SPECS, name)
    fields = [{**view._asdict()} for view in preset if isinstance(view, View)]
    assert changed(SPECS, fields) == preset


def test_methods_that_take_any_number_of_views_take_two_or_more():
    assert changed(SPECS[:1], {"count": 5}, any_count=True)[0].count == 5
    with pytest.raises(UsageError, match="count 1, and the method takes 2 or more of these"):
        changed(SPECS[:1], {"count": 1}, any_count=True)


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ("stong", "unknown views 'stong'; did you mean 'strong'"),
        ({"jiter": 1}, "unknown field 'jiter' of a view; did you mean 'jitter'"),
        ({"scale": 0.2}, "scale needs 2 numbers of at least 0, got 0.2"),
        ({"count": 0}, "count needs 1 whole number of at least 1, got 0"),
        ({"count": 3}, "count 3, and the method takes 2 of these\nleave count out"),
        ({"flip": "often"}, "flip needs 1 number of at least 0, got 'often'"),
        ({"scale": [2, 3]}, "scale needs two shares of the image above 0 and at most 1, the smaller first, got .2, 3"),
        ({"scale": [0, 1]}, "scale needs two shares"),
        ({"scale": [0.9, 0.3]}, "scale needs two shares"),
        ({"ratio": [0, 1]}, "ratio needs two numbers above 0, the smaller first, got .0, 1"),
        ({"ratio": [1, float("inf")]}, "ratio needs 2 numbers of at least 0, got .1, inf"),
        ({"blur_sigma": [0, 0]}, "blur_sigma needs two numbers above 0, the smaller first, got .0, 0"),
        ({"jitter": [2, 2, 2, 0.6]}, "jitter needs a hue, its fourth number, of at most 0.5, got"),
        ({"flip": 7}, "flip needs a number from 0 to 1, got 7"),
        ({"solarize_threshold": 1.5}, "solarize_threshold needs a number from 0 to 1, got 1.5"),
        ([{}], "1 views were given, the method has 2"),
    ],
)
def test_what_is_no_view_is_refused(choice, message):
    with pytest.raises(UsageError, match=message):
        changed(SPECS, choice)
