import xml.etree.ElementTree

import numpy as np
import pytest

from selfstudy.report.figures import Curve, Panel, draw, thinned


def test_a_long_curve_is_averaged_over_stretches_and_keeps_its_mean():
    values = np.random.default_rng(0).normal(size=10_000)
    steps, means = thinned(Curve("loss", range(10_000), values.tolist()))
    assert len(steps) == len(means) == 400
    assert means.mean() == pytest.approx(values.mean()) and steps.mean() == pytest.approx(4999.5)


def test_a_short_curve_stays_as_it_is():
    steps, values = thinned(Curve("loss", [1, 2, 3], [1.0, 4.0, 2.0]), points=3)
    assert steps.tolist() == [1, 2, 3] and values.tolist() == [1, 4, 2]


def test_a_figure_is_one_element_with_its_words_as_text_and_the_same_every_time():
    panels = [Panel("loss <b> $x", [Curve("a & b", [1, 2], [2.0, 1.0]), Curve("c", [1], [1.0])], [(3.0, "nothing")])]
    text = draw(panels)
    root = xml.etree.ElementTree.fromstring(text)  # well-formed, with any characters in names
    assert root.tag.endswith("svg")
    words = "".join(root.itertext())
    assert all(name in words for name in ("loss <b> $x", "a & b", "nothing"))
    assert draw(panels) == text
    assert text.count('id="axes_') == 1  # no empty places next to it


def test_no_panels_make_no_figure():
    assert draw([]) == ""
