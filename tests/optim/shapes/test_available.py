"""Shapes are found by their files: a new one is one file, and a wrong name or setting is refused."""

import pytest

from selfstudy.errors import UsageError
from selfstudy.optim import shapes
from selfstudy.optim.shapes import available, shape_of


def test_the_shapes_are_the_files_of_the_folder():
    assert list(available()) == ["constant", "cosine", "linear", "steps", "wsd"]


@pytest.mark.parametrize("name", available())
def test_every_shape_starts_at_the_peak_and_stays_between_its_ends(name):
    values = [shape_of(name)(step / 100) for step in range(101)]
    assert values[0] == 1.0 and min(values) >= 0.0 and values == sorted(values, reverse=True)


def test_a_file_is_all_that_a_new_shape_needs(tmp_path, monkeypatch):
    (tmp_path / "root.py").write_text(
        '"""Root: the square root of what is left."""\n\nfrom selfstudy.optim.shapes import Shape\n\n\n'
        "class Root(Shape):\n    power: float = 0.5\n\n"
        "    def __call__(self, done):\n        return (1 - done) ** self.power\n"
    )
    monkeypatch.setattr(shapes, "__path__", [*shapes.__path__, str(tmp_path)])
    available.cache_clear()
    try:
        assert "root" in available() and shape_of({"name": "root", "power": 2})(0.5) == 0.25
    finally:
        available.cache_clear()


def test_settings_of_a_shape_are_checked():
    assert shape_of({"name": "wsd", "decay": 0.1})(0.9) == pytest.approx(1.0)
    with pytest.raises(UsageError, match="unknown setting 'optimizer.schedule.decoy'; did you mean 'decay'"):
        shape_of({"name": "wsd", "decoy": 0.1})
    with pytest.raises(UsageError, match="setting 'optimizer.schedule.decay': got 2; input should be less than or"):
        shape_of({"name": "wsd", "decay": 2})


@pytest.mark.parametrize("schedule", ["cosin", {"name": "cosin"}])
def test_an_unknown_shape_is_refused_with_the_nearest_name(schedule):
    with pytest.raises(
        UsageError, match="unknown optimizer.schedule 'cosin'; did you mean 'cosine'\\?\nknown: constant"
    ):
        shape_of(schedule)


def test_settings_without_a_name_are_refused():
    with pytest.raises(UsageError, match="unknown optimizer.schedule None.*\nknown: constant"):
        shape_of({"decay": 0.1})
