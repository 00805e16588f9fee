"""Changes to a method's views: fewer augmentations, or those that suit other images than photographs."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from selfstudy.errors import UsageError, did_you_mean
from selfstudy.views.spec import Spec, View

_NO_COLOUR: dict[str, Any] = {"jitter": (0.0, 0.0, 0.0, 0.0), "grayscale": 0.0, "blur": 0.0, "solarize": 0.0}


def _none(view: View) -> View:
    """No augmentation: the whole image at the view's size, or its centre if the proportions differ."""
    ratio = view.size[1] / view.size[0]
    return view._replace(scale=(1.0, 1.0), ratio=(ratio, ratio), flip=0.0, vertical_flip=0.0, **_NO_COLOUR)


def _weak(view: View) -> View:
    """Crops and flips only."""
    return view._replace(**_NO_COLOUR)


def _strong(view: View) -> View:
    """SimCLR's colour augmentation at full strength (Chen et al. 2020, arXiv:2002.05709, appendix A)."""
    return view._replace(jitter=(0.8, 0.8, 0.8, 0.2), jitter_probability=0.8, grayscale=0.2, blur=0.5)


def _medical(view: View) -> View:
    """For gray images with meaningful brightness and small findings: large crops, mild contrast."""
    large = view.scale[1] == 1.0
    return view._replace(scale=(0.3, 1.0) if large else view.scale, **(_NO_COLOUR | {"jitter": (0.2, 0.2, 0.0, 0.0)}))


def _satellite(view: View) -> View:
    """For images from above: no side is up, and colour distinguishes land use."""
    return view._replace(vertical_flip=0.5, jitter=(0.4, 0.4, 0.2, 0.05), grayscale=0.0, solarize=0.0)


PRESETS: dict[str, Callable[[View], View]] = {
    "none": _none,
    "weak": _weak,
    "strong": _strong,
    "medical": _medical,
    "satellite": _satellite,
}

# Rules for a field's numbers, which must also be finite and not negative. A crop without pixels, the logarithm of a
# ratio of 0 and a Gaussian without width would cause errors or NaN, and only after a run has begun.
_BOUNDS: dict[str, tuple[Callable[[Sequence[float]], bool], str]] = {
    "scale": (lambda n: 0 < n[0] <= n[1] <= 1, "two shares of the image above 0 and at most 1, the smaller first"),
    **dict.fromkeys(("ratio", "blur_sigma"), (lambda n: 0 < n[0] <= n[1], "two numbers above 0, the smaller first")),
    "jitter": (lambda n: n[3] <= 0.5, "a hue, its fourth number, of at most 0.5"),
    **dict.fromkeys(
        ("flip", "vertical_flip", "jitter_probability", "grayscale", "blur", "solarize", "solarize_threshold"),
        (lambda n: n[0] <= 1, "a number from 0 to 1"),
    ),
}


def changed(
    specs: Sequence[Spec], choice: str | Mapping[str, Any] | Sequence[Mapping[str, Any]], *, any_count: bool = False
) -> list[Spec]:
    """A method's specs with changed views; other specs stay.

    Args:
        specs: the method's own specs.
        choice: ``"own"`` or ``"auto"`` for no change, a preset's name, fields of :class:`View` to set in all views,
            or one such mapping per view.
        any_count: True if the method accepts any number of views >= 2. The number of small views, smaller than the
            first, is always free: all methods that have them accept more or fewer.

    Raises:
        UsageError: an unknown preset or field, a value that does not fit, or the wrong number of mappings.
    """
    views = [spec for spec in specs if isinstance(spec, View)]
    if isinstance(choice, str):
        new = views if choice in ("auto", "own") else [_preset(choice)(view) for view in views]
    else:
        mappings = [choice] * len(views) if isinstance(choice, Mapping) else list(choice)
        if len(mappings) != len(views):
            raise UsageError(
                f"{len(mappings)} views were given, the method has {len(views)}\ngive one for each, in order"
            )
        new = [_with_fields(view, fields) for view, fields in zip(views, mappings, strict=True)]
        for old, view in zip(views, new, strict=True):
            _require_count(old, view.count, small=old.size < views[0].size, any_count=any_count)
    remaining = iter(new)
    return [next(remaining) if isinstance(spec, View) else spec for spec in specs]


def _preset(name: str) -> Callable[[View], View]:
    if name not in PRESETS:
        raise UsageError(f"unknown views {name!r}{did_you_mean(name, PRESETS)}\nknown: auto, {', '.join(PRESETS)}")
    return PRESETS[name]


def _with_fields(view: View, fields: Mapping[str, Any]) -> View:
    """The view with some fields replaced, each checked against the value it replaces."""
    values = {}
    for name, value in fields.items():
        if name not in View._fields:
            raise UsageError(
                f"unknown field {name!r} of a view{did_you_mean(name, View._fields)}\nknown: {', '.join(View._fields)}"
            )
        values[name] = _like(name, value, getattr(view, name))
    return view._replace(**values)


def _require_count(view: View, count: int, *, small: bool, any_count: bool) -> None:
    """Refuse a number of views with which the method's loss would pair different images."""
    allowed = "2 or more" if any_count else str(view.count)
    if not (count == view.count or small or (any_count and count >= 2)):
        raise UsageError(f"views: count {count}, and the method takes {allowed} of these\nleave count out")


def _like(name: str, value: Any, old: Any) -> Any:
    """``value`` with the length and type of ``old``; sizes and counts are whole numbers of at least 1."""
    numbers = list(value) if isinstance(value, list | tuple) else [value]
    wanted = len(old) if isinstance(old, tuple) else 1
    whole = isinstance(old[0] if isinstance(old, tuple) else old, int)
    low = 1 if whole else 0
    if len(numbers) != wanted or not all(
        isinstance(n, int if whole else int | float) and not isinstance(n, bool) and low <= n < math.inf
        for n in numbers
    ):
        kind = "whole number" if whole else "number"
        raise UsageError(f"views: {name} needs {wanted} {kind}{'s' * (wanted > 1)} of at least {low}, got {value!r}")
    if name in _BOUNDS and not _BOUNDS[name][0](numbers):
        raise UsageError(f"views: {name} needs {_BOUNDS[name][1]}, got {value!r}")
    converted = tuple(int(n) if whole else float(n) for n in numbers)
    return converted if isinstance(old, tuple) else converted[0]
