"""The table of an evaluation: features x probe, each number with its unit and the protocol it was measured under."""

import csv
import io
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard

_TITLES = {"knn": "k-NN", "sts": "STS", "finetune": "fine-tuned"}
_TITLES |= {"low-shot-1": "1 label", "low-shot-5": "5 labels", "low-shot-25": "25 labels"}
_TITLES |= {"retrieval-map": "mAP", "retrieval-recall-1": "R@1", "retrieval-recall-5": "R@5"}
_TITLES |= {f"{probe}-whitened": f"{_TITLES[probe]} whitened" for probe in ("knn", "retrieval-map")}
_TITLES |= {f"retrieval-recall-{k}-whitened": f"R@{k} whitened" for k in (1, 5)}
_TITLES |= {f"{probe}-balanced": f"{_TITLES.get(probe, probe)} balanced" for probe in ("knn", "knn-whitened", "linear")}
_TITLES |= {f"{probe}-f1": f"{_TITLES.get(probe, probe)} F1" for probe in ("knn", "knn-whitened", "linear")}
_FORMATS = {"%": (1, " %"), "": (1, ""), "bits/byte": (3, ""), "nats/token": (4, "")}  # digits, and what follows them
_HELD_OUT_TEXT = {  # key of a figure, name of its column, unit
    "bits_per_byte": ("bits per byte", "bits/byte"),
    "nats_per_token": ("nats per token", "nats/token"),
    "perplexity": ("perplexity", ""),
    "accuracy": ("token accuracy", "%"),
}
PRETRAINED = "pretrained encoder"
UNTRAINED, UNTRAINED_SET = "untrained encoder", "untrained encoder, statistics set"
"""The rows of the encoder before its first step; the second has normalisation statistics of the train images."""
HELD_OUT_TEXT = tuple(name for name, _ in _HELD_OUT_TEXT.values())
_WIDTH = 80  # characters; a wider table goes on below
_Z = 1.959964  # standard deviations either side that hold 95 % of a normal distribution


class Ahead(NamedTuple):
    """The paired difference between a score and that of the best free row under the same probe.

    Attributes:
        value: the score minus the free row's score, in the unit of both.
        low: the lower end of the 95 % interval of the difference, over draws of the test examples.
        high: the upper end of that interval.
        row: the ``features`` of the free row.
    """

    value: float
    low: float
    high: float
    row: str


class Score(NamedTuple):
    """One number of an evaluation, and one line of ``evaluations.jsonl``.

    Attributes:
        features: the features that were probed, such as ``"pretrained encoder"``.
        probe: the column: a probe such as ``"knn"``, one of its figures such as ``"low-shot-5"`` (5 labels of each
            class) or ``"retrieval-recall-5"``, or one of :data:`HELD_OUT_TEXT`.
        value: the number, in ``unit``.
        protocol: the way it was measured; numbers with different protocols must not be compared.
        spread: standard deviation over repetitions, where there were any.
        unit: ``"%"``, ``"bits/byte"``, ``"nats/token"``, or ``""`` for a pure number, such as 100 times a correlation.
        interval: the ends of the 95 % interval over draws of the test examples, where one is known.
        data: the name of the data that the probe learnt from.
        test: the name of the test data, where they were given apart.
        free: True for features that need no training, such as raw pixels; a trained encoder has to beat them.
        ahead: the paired difference to the best free row, where both know which test examples are right.
        right: one byte for each of M test examples, 1 where it is right and 0 where it is not; not written to
            ``evaluations.jsonl``.
        step: the optimizer steps that the run had taken, where that is known.
    """

    features: str
    probe: str
    value: float
    protocol: str
    spread: float | None = None
    unit: str = "%"
    interval: tuple[float, float] | None = None
    data: str | None = None
    test: str | None = None
    free: bool = False
    ahead: Ahead | None = None
    right: bytes | None = None
    step: int | None = None

    @property
    def accuracy(self) -> float:
        """The value, by its older name."""
        return self.value

    def line(self) -> dict[str, object]:
        """The score as the object of one line of ``evaluations.jsonl``."""
        names = ("features", "probe", "value", "unit", "interval", "protocol", "data", "test", "spread", "free", "step")
        ahead = None if self.ahead is None else self.ahead._asdict()
        return {name: getattr(self, name) for name in names} | {"ahead": ahead}


def scores_in(line: Mapping[str, Any]) -> list[Score]:
    """The scores on a line of ``evaluations.jsonl``; none on one without a finite number.

    Before lines had a value and a unit, they had an ``accuracy``, or all figures of held-out text together.
    """
    if "bits_per_byte" in line:
        # the protocol of masked models had another verb; with it, no run of today could be compared with older ones
        protocol = re.sub(r"tokens \w+, none of", "tokens predicted, none of", str(line.get("protocol", "")))
        return held_out_scores({**line, "protocol": protocol})
    value = line.get("value", line.get("accuracy"))
    if not is_number(value):
        return []
    features, probe, protocol = (str(line.get(key, "")) for key in ("features", "probe", "protocol"))
    unit = str(line.get("unit", "" if probe == "sts" else "%"))
    spread, ends = line.get("spread"), line.get("interval")
    interval = (ends[0], ends[1]) if isinstance(ends, list) and [*map(is_number, ends)] == [True, True] else None
    data, test = (None if line.get(key) is None else str(line[key]) for key in ("data", "test"))
    spread = spread if is_number(spread) else None
    free, ahead, step = line.get("free") is True, _ahead_in(line.get("ahead")), line.get("step")
    step = step if isinstance(step, int) else None
    return [Score(features, probe, value, protocol, spread, unit, interval, data, test, free, ahead, step=step)]


def _ahead_in(content: object) -> Ahead | None:
    """The paired difference on a line of ``evaluations.jsonl``; None if there is none, or a number is missing."""
    if not isinstance(content, Mapping):
        return None
    value, low, high = (content.get(name) for name in ("value", "low", "high"))
    if not (is_number(value) and is_number(low) and is_number(high)):
        return None
    return Ahead(value, low, high, str(content.get("row", "")))


def held_out_scores(figures: Mapping[str, Any]) -> list[Score]:
    """The figures of a language model on held-out text, one score each; figures that are not finite are left out.

    All except bits per byte depend on how the text was cut into tokens, so their protocol names the numbers of both.

    Args:
        figures: ``bits_per_byte``, ``nats_per_token``, ``perplexity``, ``accuracy``, ``tokens``, ``text_bytes``,
            ``protocol`` and ``data``.
    """
    protocol, data = str(figures.get("protocol", "")), figures.get("data")
    tokens, size = (count if is_number(count := figures.get(name)) else 0 for name in ("tokens", "text_bytes"))
    own = f"{protocol}; {tokens:,} tokens, {size:,} bytes"
    return [
        Score(
            PRETRAINED,
            name,
            figures[key],
            protocol if key == "bits_per_byte" else own,
            unit=unit,
            data=None if data is None else str(data),
        )
        for key, (name, unit) in _HELD_OUT_TEXT.items()
        if is_number(figures.get(key))
    ]


def is_number(value: object) -> TypeGuard[float]:
    """True if a value from a file is a finite number, which can be drawn and averaged."""
    return isinstance(value, int | float) and math.isfinite(value)


def wilson(percent: float, n: int) -> tuple[float, float]:
    """The ends of the 95 % interval, in percent, of a share that was counted in ``n`` independent examples.

    Source: Wilson 1927, doi:10.2307/2276774.

    >>> [round(end, 2) for end in wilson(50.0, 100)], [round(end, 2) for end in wilson(100.0, 10)]
    ([40.38, 59.62], [72.25, 100.0])
    """
    share, more = percent / 100, _Z**2 / n
    middle = (share + more / 2) / (1 + more)
    half = math.sqrt(share * (1 - share) * more + more**2 / 4) / (1 + more)
    return 100 * max(0.0, middle - half), 100 * min(1.0, middle + half)


class Results:
    """Scores in the order they were given; prints as a plain text table, and last the verdict if there is one.

    Args:
        scores: the scores.
        verdict: the meaning of the scores for the user, in one or two sentences.

    >>> print(Results([Score("raw pixels", "knn", 36.3, "k-NN k=20"), Score("pretrained", "knn", 53.7, "k-NN k=20")]))
    features      k-NN
    raw pixels  36.3 %
    pretrained  53.7 %
    <BLANKLINE>
    k-NN k=20
    """

    def __init__(self, scores: Iterable[Score], verdict: str | None = None) -> None:
        self.scores, self.verdict = tuple(scores), verdict

    def __iter__(self) -> Iterator[Score]:
        return iter(self.scores)

    def __len__(self) -> int:
        return len(self.scores)

    def __str__(self) -> str:
        """Features down, probes across, in as many blocks as fit a page; below: legend, protocols, and the verdict."""
        first, *columns = (list(column) for column in zip(*self.table(), strict=True))
        lines = [line for block in _blocks(first, columns) for line in [*block, ""]]
        return "\n".join([*lines, *self.legend(), *self.protocols()] + (["", self.verdict] if self.verdict else []))

    def table(self) -> list[list[str]]:
        """Features down, probes across, as text; the first row and the first column are headings."""
        cells = {score[:2]: _cell(score) for score in self.scores}
        probes = list(dict.fromkeys(score.probe for score in self.scores))
        rows = [["features", *(title(probe) for probe in probes)]]
        for name in dict.fromkeys(score.features for score in self.scores):
            rows.append([name, *(cells.get((name, probe), "-") for probe in probes)])
        return rows

    def legend(self) -> list[str]:
        """One line on the numbers after ± and sd, or none where the table has none."""
        meanings = {
            "±: half of the 95 % interval over draws of the test examples": any(s.interval for s in self.scores),
            "sd: standard deviation over draws of labels": any(s.spread is not None for s in self.scores),
        }
        found = [meaning for meaning, needed in meanings.items() if needed]
        return [", ".join(found)] if found else []

    def protocols(self) -> list[str]:
        """The protocols of all scores, each once."""
        return list(dict.fromkeys(score.protocol for score in self.scores))

    def __repr__(self) -> str:
        return str(self)

    def accuracy(self, features: str, probe: str) -> float:
        """One number, in its unit.

        Raises:
            KeyError: these features were not measured with this probe.
        """
        return {score[:2]: score.value for score in self.scores}[features, probe]

    def on(self, data: str, test: str | None, *, step: int | None = None) -> "Results":
        """The same scores, with the names of the data on which they were measured, and the steps of the run."""
        return Results((score._replace(data=data, test=test, step=step) for score in self.scores), self.verdict)

    def to_dict(self) -> dict[str, list[object]]:
        """The scores as columns for ``pandas.DataFrame``.

        ``low`` and ``high`` are the ends of the interval; ``ahead`` is the paired difference to the free row
        ``ahead_of``, with the ends of its interval.
        """
        rows = [_cells(score) for score in self.scores]
        return {column: [row[column] for row in rows] for column in _cells(Score("", "", math.nan, ""))}

    def to_csv(self, path: str | Path | None = None) -> str:
        """The scores as CSV with a header; also written to ``path`` if there is one."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        columns = self.to_dict()
        writer.writerows([columns, *zip(*columns.values(), strict=True)])
        if path is not None:
            Path(path).write_text(text.getvalue(), encoding="utf-8")
        return text.getvalue()


def _cells(score: Score) -> dict[str, object]:
    """A score by column; the first five are those that tables of scores have always had."""
    low, high = score.interval or (None, None)
    ahead = score.ahead or (None, None, None, None)
    names = ("features", "probe", "accuracy", "protocol", "spread", "unit")
    more = {"low": low, "high": high, "data": score.data, "test": score.test, "free": score.free}
    columns = ("ahead", "ahead_low", "ahead_high", "ahead_of")
    return {name: getattr(score, name) for name in names} | more | dict(zip(columns, ahead, strict=True))


def _cell(score: Score) -> str:
    """The value with half its interval, its deviation over draws of labels, and its unit."""
    digits, after = _FORMATS.get(score.unit, (1, f" {score.unit}"))
    low, high = score.interval or (math.nan, math.nan)
    half = "" if math.isnan(high - low) else f" ±{(high - low) / 2:.{digits}f}"
    deviation = "" if score.spread is None else f" sd {score.spread:.{digits}f}"
    return f"{score.value:.{digits}f}{half}{deviation}{after}"


def title(probe: str) -> str:
    """The heading of a column."""
    return _TITLES.get(probe, probe)


def shown(value: float, unit: str = "%", deviation: float | None = None) -> str:
    """A number with its unit, and with its standard deviation if there is one.

    >>> shown(51.52, "%", 0.7), shown(1.2345, "bits/byte"), shown(2.0, "px")
    ('51.5 ± 0.7 %', '1.234', '2.0 px')
    """
    digits, after = _FORMATS.get(unit, (1, f" {unit}"))
    spread = "" if deviation is None else f" ± {deviation:.{digits}f}"
    return f"{value:.{digits}f}{spread}{after}"


def _blocks(first: list[str], columns: list[list[str]]) -> list[list[str]]:
    """Tables as lines; each begins with the first column and holds as many of the others as a page has room for."""
    tables = [[first]]
    for column in columns:
        if len(tables[-1]) > 1 and sum(2 + max(map(len, one)) for one in [*tables[-1], column]) > 2 + _WIDTH:
            tables.append([first])
        tables[-1].append(column)
    return [aligned([list(row) for row in zip(*table, strict=True)]) for table in tables]


def aligned(table: list[list[str]]) -> list[str]:
    """Lines with the first column flush left and the others flush right."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if index else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in table
    ]
