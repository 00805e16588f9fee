"""The shapes of learning rates: one file per shape, found by its name. Does not import torch.

``optimizer.schedule=wsd`` names a shape; ``optimizer.schedule={name: wsd, decay: 0.1}`` gives it settings as well. A
shape begins after the warm-up, at the peak learning rate, and may end at ``optimizer.final_lr``.
"""

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from selfstudy.config import Closed, validate
from selfstudy.errors import UsageError, did_you_mean


class Shape(Closed):
    """The base class of shapes. A subclass has its settings as fields."""

    def __call__(self, done: float) -> float:
        """Return the fraction of the way from the last to the peak learning rate.

        Args:
            done: the fraction done of the steps after the warm-up, in [0, 1].
        """
        raise NotImplementedError


@cache
def available() -> dict[str, type[Shape]]:
    """Return the class of every shape by its name, in alphabetical order."""
    return {module.name: _only_shape(f"{__name__}.{module.name}") for module in iter_modules(__path__)}


def _only_shape(module: str) -> type[Shape]:
    """Return the one shape that a module defines."""
    (found,) = [
        value
        for value in vars(import_module(module)).values()
        if isinstance(value, type) and issubclass(value, Shape) and value.__module__ == module
    ]
    return found


def shape_of(schedule: str | Mapping[str, Any]) -> Shape:
    """Return the shape that ``optimizer.schedule`` asks for.

    Args:
        schedule: a name, or a mapping with the name under ``name`` and the settings of the shape.

    Raises:
        UsageError: an unknown name, or a setting that the shape does not have.

    >>> shape_of({"name": "wsd", "decay": 0.5})(0.75)
    0.5
    """
    settings = {"name": schedule} if isinstance(schedule, str) else dict(schedule)
    name = settings.pop("name", None)
    known = available()
    if name not in known:
        raise UsageError(
            f"unknown optimizer.schedule {name!r}{did_you_mean(str(name), known)}\nknown: {', '.join(known)}"
        )
    shape: Shape = validate(known[name], settings, "optimizer.schedule")
    return shape
