"""The cosine shape by hand."""

import pytest

from selfstudy.optim.shapes.cosine import Cosine


def test_it_falls_along_half_a_cosine():
    assert [Cosine()(done) for done in (0.0, 1 / 3, 0.5, 1.0)] == pytest.approx([1.0, 0.75, 0.5, 0.0])
