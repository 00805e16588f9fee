"""Curves over the steps of training, as SVG that needs no other file."""

import io
import math
from collections.abc import Sequence
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

_POINTS = 400  # the largest number per curve; a longer curve is averaged over this many stretches of steps
_COLUMNS, _WIDTH, _HEIGHT = 3, 3.6, 2.2  # panels in a row, inches of a panel
_STYLE = {
    "svg.fonttype": "none",  # text stays text, in the font of the reader
    "svg.hashsalt": "selfstudy",  # the same curves give the same file
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#888888",
    "axes.titlelocation": "left",
    "axes.grid": True,
    "grid.color": "#e8e8e8",
    "text.parse_math": False,  # names from files are not formulas
    "legend.frameon": False,
    "legend.fontsize": 8,
}


class Curve(NamedTuple):
    """Finite values over steps, or over another quantity that the title of the panel names.

    Attributes:
        name: the name of the curve.
        steps: the positions of the values.
        values: the values.
        ends: the lower and the upper end of the interval of each value, drawn as a band; empty without intervals.
    """

    name: str
    steps: Sequence[float]
    values: Sequence[float]
    ends: Sequence[tuple[float, float]] = ()


class Panel(NamedTuple):
    """One small figure.

    Attributes:
        title: the quantity, with its unit.
        curves: one curve, or several that have names.
        marks: values for comparison, drawn as dashed lines, each with its name.
    """

    title: str
    curves: Sequence[Curve]
    marks: Sequence[tuple[float, str]] = ()


def draw(panels: Sequence[Panel]) -> str:
    """An ``<svg>`` element with the panels, three in a row, or "" if there are none."""
    if not panels:
        return ""
    rows = math.ceil(len(panels) / _COLUMNS)
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(_WIDTH * _COLUMNS, _HEIGHT * rows), layout="constrained")
        axes = figure.subplots(rows, _COLUMNS).flatten()
        for place, panel in zip(axes, panels, strict=False):
            _fill(place, panel)
        for place in axes[len(panels) :]:
            place.remove()
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    text = file.getvalue()
    return text[text.index("<svg") :]  # a page holds no second XML declaration


def _fill(place: Axes, panel: Panel) -> None:
    """Draw a panel's curves and marks."""
    place.set_title(panel.title, fontsize=9)
    for curve in panel.curves:
        steps, values = thinned(curve)
        single = "." if len(steps) == 1 else None
        name = curve.name if len(steps) else None  # a run without this value still uses up its colour
        (line,) = place.plot(steps, values, linewidth=1.2, label=name, marker=single)
        if curve.ends:
            low, high = np.array(curve.ends).T
            place.fill_between(curve.steps, low, high, color=line.get_color(), alpha=0.15, linewidth=0)
    for value, name in panel.marks:
        place.axhline(value, color="#999999", linewidth=0.9, linestyle="--")
        place.annotate(name, (1, value), xycoords=("axes fraction", "data"), ha="right", va="bottom", fontsize=8)
    if len(panel.curves) > 1:
        place.legend()
    place.margins(x=0.01)


def thinned(curve: Curve, points: int = _POINTS) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values of a curve (n,) float64; means over stretches if there are more than ``points``.

    >>> thinned(Curve("loss", [1, 2, 3, 4], [4.0, 2.0, 1.0, 2.0]), points=2)
    (array([1.5, 3.5]), array([3. , 1.5]))
    """
    both = np.array([curve.steps, curve.values], dtype=float)
    if both.shape[1] > points:
        both = np.array([part.mean(axis=1) for part in np.array_split(both, points, axis=1)]).T
    return both[0], both[1]
