"""The shape of patches: sizes by the images, filters by the budget, with measured costs replaced by known ones."""

import pytest

from selfstudy.encoders import patch_costs
from selfstudy.encoders.patch_costs import USUAL_FILTERS, Job, affordable_shape
from selfstudy.errors import UsageError


def _job(seconds=None, side=32, inputs=1000):
    return Job(inputs, (side, side), 3, seconds)


@pytest.fixture
def known_costs(monkeypatch):
    monkeypatch.setattr(patch_costs, "_seconds_per_filter", lambda job, sizes, parts: 1e-5)
    monkeypatch.setattr(patch_costs, "_seconds_per_product", lambda: 1e-12)


def test_small_images_are_looked_at_in_two_sizes_and_larger_ones_in_three():
    assert affordable_shape(_job(side=32))[:2] == ((32, 20), (USUAL_FILTERS, 2 * USUAL_FILTERS))
    sizes, filters, why = affordable_shape(_job(side=64))
    assert sizes == (64, 32, 16) and filters[1:] == (2 * filters[0],) * 2 and why == "the usual number"


@pytest.mark.usefixtures("known_costs")
def test_a_longer_budget_has_more_filters_up_to_a_limit():
    found = [affordable_shape(_job(seconds)).filters[0] for seconds in (0.5, 2.0, 1e9)]
    assert found == sorted(set(found)) and all(count % 2 == 0 for count in found)
    shape = affordable_shape(_job(2.0))
    assert 1000 * 1e-5 * shape.filters[0] < 0.8 * 2.0 and "1,000 images take about 2 s" in shape.reason


@pytest.mark.usefixtures("known_costs")
def test_a_budget_too_short_for_the_fewest_filters_names_one_that_suffices():
    with pytest.raises(UsageError, match="9,000 images need about 1 s with the fewest filters, 1 s are left\nuse"):
        affordable_shape(_job(0.6, inputs=9000))


def test_costs_are_measured_on_this_machine():
    few, many = (affordable_shape(_job(seconds)).filters[0] for seconds in (5.0, 500.0))
    assert 0 < few <= many
