"""Runs side by side: different settings, the course of training, and numbers measured under one protocol.

Runs that differ only in their seed share a column, with mean and standard deviation. Two numbers share a row only if
they have the same protocol and the same data.
"""

import csv
import io
import math
import statistics
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import NamedTuple

from markupsafe import Markup

from selfstudy.errors import UsageError
from selfstudy.probes.results import PRETRAINED, UNTRAINED, UNTRAINED_SET, Score, aligned, is_number, shown, title
from selfstudy.report.figures import Panel, draw
from selfstudy.report.page import curve_of, health_panels, template
from selfstudy.report.record import Line, RunRecord

_SEED, _MISSING = "train.seed", "-"
_AHEAD = "ahead of the best free row"


class Number(NamedTuple):
    """One number of one column.

    Attributes:
        column: the name of the column: a run, or runs that differ only in their seed.
        features: the features that were measured, such as ``"pretrained encoder"``.
        probe: the probe or figure, such as ``"knn"``, or ``"bits per byte"`` for held-out text.
        mean: the mean over the column's runs that have this number.
        deviation: the sample standard deviation; NaN for a single run.
        runs: the number of runs that have it.
        gain: the pretrained encoder minus the untrained one, as the mean over runs; NaN if unknown.
        data: the name of the data that the probe learnt from; empty if it was not recorded.
        test: the name of the test data if they were given separately; else empty.
        protocol: the rules of the measurement, such as its settings and the number of samples.
        unit: the unit of mean, deviation and gain.
        ahead: the paired difference to the best free row, as the mean over runs; NaN if unknown.
        low: the lower end of its 95 % interval over draws of the test examples; NaN for several runs.
        high: the upper end of that interval; NaN for several runs.
        free_row: the name of the best free row, or of several if the runs differ in it; empty if unknown.
    """

    column: str
    features: str
    probe: str
    mean: float
    deviation: float
    runs: int
    gain: float
    data: str
    test: str
    protocol: str
    unit: str
    ahead: float
    low: float
    high: float
    free_row: str

    @property
    def place(self) -> tuple[str, str, str, str]:
        """Probe, data, test and protocol: numbers may be compared if all four are equal."""
        return self.probe, self.data, self.test, self.protocol


class Column(NamedTuple):
    """Runs whose settings differ only in the seed."""

    name: str
    runs: list[RunRecord]


class Comparison:
    """Several runs side by side; prints as text.

    Args:
        records: the runs, at least two.
        ignored: the dotted names of settings that change no result.

    Attributes:
        columns: the runs; those that differ only in their seed share one.
        numbers: everything that was measured.

    Raises:
        UsageError: fewer than two runs, or a run that is named twice.
    """

    def __init__(self, records: Sequence[RunRecord], *, ignored: Collection[str]) -> None:
        paths = [record.path.resolve() for record in records]
        if twice := [str(path) for path in paths if paths.count(path) > 1]:
            raise UsageError(f"{twice[0]} is named twice\nname every run once")
        if len(records) < 2:
            raise UsageError(
                f"{len(records)} run to compare\nname two or more run folders: selfstudy compare runs/a runs/b"
            )
        self._ignored = {*ignored, _SEED}
        self.columns = _columns(records, self._ignored)
        self.numbers = [number for column in self.columns for number in _numbers(column)]

    def __str__(self) -> str:
        """A block of lines for each section, then the runs of each column."""
        blocks = []
        for name, rows in self.sections():
            heading = [name, *(column.name for column in self.columns)]
            blocks.append("\n".join(aligned([heading, *rows])))
        return "\n\n".join([*blocks, *self.notes()])

    def sections(self) -> list[tuple[str, list[list[str]]]]:
        """The headings with their rows; a row is a name, then a cell for each column."""
        found = [
            ("verdict", _verdicts(self.columns)),
            ("settings that differ", _differences(self.columns, self._ignored)),
            ("training", _training(self.columns)),
        ]
        found += [(f"{title(one[0])} [{number}]", self._rows(one)) for number, one in enumerate(self._protocols(), 1)]
        return [(name, rows) for name, rows in found if rows]

    def notes(self) -> list[str]:
        """The sentences about the runs, the numbered protocols, then the runs of columns that hold several."""
        sentences = [
            f"{name}: {run.verdicts[-1].verdict.short}"
            for column in self.columns
            for name, run in _named(column)
            if run.verdicts
        ]
        protocols = [
            f"[{number}] {protocol}{_of(data, test)}"
            for number, (_, data, test, protocol) in enumerate(self._protocols(), 1)
        ]
        members = [
            f"{column.name}: {', '.join(f'{run.path} (seed {run.settings.get(_SEED)})' for run in column.runs)}"
            for column in self.columns
            if len(column.runs) > 1
        ]
        return ["\n".join(lines) for lines in (sentences, protocols, members) if lines]

    def to_csv(self) -> str:
        """The numbers as CSV with a header, one number a line."""
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([Number._fields, *self.numbers])
        return text.getvalue()

    def to_html(self) -> str:
        """A page that needs no other file, with the curves of all runs."""
        panels = _loss_panel(self.columns) + health_panels(
            {name: run for column in self.columns for name, run in _named(column)}
        )
        return template("comparison.html").render(
            columns=[column.name for column in self.columns],
            sections=self.sections(),
            notes=self.notes(),
            curves=Markup(draw(panels)),
        )

    def _protocols(self) -> list[tuple[str, str, str, str]]:
        """Probe, data, test and protocol of every kind of number, each once, in the order of the runs."""
        return list(dict.fromkeys(one.place for one in self.numbers))

    def _rows(self, place: tuple[str, str, str, str]) -> list[list[str]]:
        """The rows of numbers that may be compared, and last the differences to the best free row."""
        found, seeds = [one for one in self.numbers if one.place == place], {c.name: len(c.runs) for c in self.columns}
        cells = {(one.features, one.column): _cell(one, seeds[one.column]) for one in found}
        leads = {(_AHEAD, one.column): _lead(one) for one in found if one.free_row}
        names = dict.fromkeys([*(one.features for one in found), *(name for name, _ in leads)])
        return [[name, *((cells | leads).get((name, column.name), "-") for column in self.columns)] for name in names]


def _columns(records: Sequence[RunRecord], ignored: Collection[str]) -> list[Column]:
    """The runs grouped by all settings except the seed; every column has its own name."""
    groups: dict[str, list[RunRecord]] = {}
    for record in records:
        groups.setdefault(repr((_settings(record, ignored), record.environment.get("data_fingerprint"))), []).append(
            record
        )
    folders = [group[0].path for group in groups.values()]
    short = len({folder.name for folder in folders}) == len(folders)
    names = [_name(group, short=short) for group in groups.values()]
    return [Column(name, group) for name, group in zip(names, groups.values(), strict=True)]


def _settings(run: RunRecord, ignored: Collection[str]) -> dict[str, object]:
    """The settings that can change a result, without the seed."""
    return {key: value for key, value in run.settings.items() if key not in {*ignored, _SEED}}


def _name(group: list[RunRecord], *, short: bool) -> str:
    """The name of a column: the first run's folder, and the number of runs if there are several."""
    first: Path = group[0].path
    return (first.name if short else str(first)) + (f" x{len(group)}" if len(group) > 1 else "")


def _verdicts(columns: list[Column]) -> list[list[str]]:
    """A row for each pair of data sets with a verdict: its kind, or how many runs have which."""
    rows: dict[str, list[str]] = {}
    for number, column in enumerate(columns):
        for place in dict.fromkeys(f"{one.data}{_of('', one.test)}" for run in column.runs for one in run.verdicts):
            kinds = Counter(
                one.verdict.kind
                for run in column.runs
                for one in run.verdicts
                if f"{one.data}{_of('', one.test)}" == place
            )
            several = len(column.runs) > 1
            words = [f"{kind} ({count} of {len(column.runs)})" if several else kind for kind, count in kinds.items()]
            rows.setdefault(place, [_MISSING] * len(columns))[number] = ", ".join(words)
    return [[place, *cells] for place, cells in rows.items()]


def _differences(columns: list[Column], ignored: Collection[str]) -> list[list[str]]:
    """A row for every setting, library version and hardware fact that differs."""
    described = [_description(column.runs[0], ignored) for column in columns]
    keys = list(dict.fromkeys(key for one in described for key in one))
    groups = list(dict.fromkeys(key.partition(".")[0] for key in keys))
    keys.sort(key=lambda key: groups.index(key.partition(".")[0]))  # methods have different settings
    rows = [[key, *(str(one.get(key, _MISSING)) for one in described)] for key in keys]
    return [row for row in rows if _differs(*row)]


def _differs(key: str, *values: str) -> bool:
    """True if runs are known to differ: an older run may lack a setting of all runs, or have left it at ``auto``."""
    shared = key.startswith(("data.", "encoder.", "optimizer.", "train."))
    return len(set(values) - {_MISSING, "auto"} if shared else set(values)) > 1


def _description(run: RunRecord, ignored: Collection[str]) -> dict[str, object]:
    """The settings that can change a result, the data with its fingerprint, and the environment."""
    environment = run.environment
    versions = environment.get("versions")
    return {
        "data": f"{run.settings.get('data.path')} ({str(environment.get('data_fingerprint'))[:8]})",
        **_settings(run, ignored),
        **(versions if isinstance(versions, dict) else {}),
        "processors": environment.get("processors"),
        "platform": environment.get("platform"),
    }


def _training(columns: list[Column]) -> list[list[str]]:
    """Steps, speed, loss and health at the end; losses only if all runs have the same method."""
    kinds = {str(column.runs[0].settings.get("method.name")) for column in columns}
    facts: dict[str, Callable[[RunRecord], float | None]] = {
        "steps": lambda run: run.last.get("step"),
        "per second": lambda run: run.speed[1] if run.speed else None,
        **({"loss": lambda run: run.last.get("loss")} if len(kinds) == 1 else {}),
        "effective rank": lambda run: _health(run).get("effective_rank"),
        "dimension std": lambda run: _health(run).get("dimension_std"),
    }
    rows = [
        [name, *(_spread([fact(run) for run in column.runs]) for column in columns)] for name, fact in facts.items()
    ]
    verdicts = [" ".join(dict.fromkeys(str(_health(run).get("verdict", "-")) for run in c.runs)) for c in columns]
    return [*rows, ["health", *verdicts]]


def _health(run: RunRecord) -> Line:
    """The newest reading of health, or an empty one."""
    return run.health[-1] if run.health else {}


def _spread(values: Sequence[float | None]) -> str:
    """The mean as text, with the standard deviation if there are several values."""
    known = [value for value in values if is_number(value)]
    if not known:
        return "-"
    mean = statistics.fmean(known)
    digits = 0 if abs(mean) >= 100 or all(isinstance(value, int) for value in known) else 3
    spread = f" ± {statistics.stdev(known):,.{digits}f}" if len(known) > 1 else ""
    return f"{mean:,.{digits}f}{spread}"


def _numbers(column: Column) -> list[Number]:
    """All that was measured of a column's runs."""
    measured: dict[tuple[str, ...], list[tuple[Score, float]]] = {}
    for run in column.runs:
        scores = {_key(score): score for score in run.evaluations}
        for key, score in scores.items():
            untrained = [one for name in (UNTRAINED_SET, UNTRAINED) if (one := scores.get((name, *key[1:])))]
            known = untrained and score.features == PRETRAINED
            measured.setdefault(key, []).append((score, score.value - untrained[0].value if known else math.nan))
    return [_number(column.name, key, pairs) for key, pairs in measured.items()]


def _key(score: Score) -> tuple[str, ...]:
    """Features, probe, data, test and protocol."""
    return score.features, score.probe, score.data or "", score.test or "", score.protocol


def _number(column: str, key: tuple[str, ...], pairs: list[tuple[Score, float]]) -> Number:
    """Mean and deviation of scores, each with its gain."""
    features, probe, data, test, protocol = key
    values, unit = [score.value for score, _ in pairs], pairs[-1][0].unit
    deviation = statistics.stdev(values) if len(values) > 1 else math.nan
    gain = statistics.fmean(gain for _, gain in pairs)
    mean = statistics.fmean(values)
    found = [score.ahead for score, _ in pairs if score.ahead is not None]
    ahead = statistics.fmean(one.value for one in found) if found else math.nan
    low, high = (found[0].low, found[0].high) if len(values) == len(found) == 1 else (math.nan, math.nan)
    rows = ", ".join(dict.fromkeys(one.row.partition(" (")[0].partition(",")[0] for one in found))
    about = (data, test, protocol, unit, ahead, low, high, rows)
    return Number(column, features, probe, mean, deviation, len(values), gain, *about)


def _cell(number: Number, seeds: int) -> str:
    """The number with its unit, deviation and gain over the untrained encoder; it says if some seeds do not have it."""
    text = shown(number.mean, number.unit, number.deviation if number.runs > 1 else None)
    gain = "" if math.isnan(number.gain) else f" ({number.gain:+.1f})"
    return f"{text}{gain}" + ("" if number.runs == seeds else f" [{number.runs} of {seeds} seeds]")


def _lead(number: Number) -> str:
    """The difference to the best free row, with half its interval if there is one."""
    half = "" if math.isnan(number.low) else f" ± {(number.high - number.low) / 2:.1f}"
    return f"{number.ahead:+.1f}{half} ({number.free_row})"


def _of(data: str, test: str) -> str:
    """The data of a protocol, as words that follow it."""
    return (f"; {data}" if data else "") + (f", tested on {test}" if test else "")


def _named(column: Column) -> list[tuple[str, RunRecord]]:
    """The runs of a column, each with its own name."""
    if len(column.runs) == 1:
        return [(column.name, column.runs[0])]
    return [(f"{column.name}, seed {run.settings.get(_SEED)}", run) for run in column.runs]


def _loss_panel(columns: list[Column]) -> list[Panel]:
    """The losses of all runs; nothing if the methods differ, since their losses cannot be compared."""
    runs = [pair for column in columns for pair in _named(column)]
    if len({str(run.settings.get("method.name")) for _, run in runs}) > 1:
        return []
    return [Panel("loss", [curve_of(name, run.metrics, "loss") for name, run in runs])]
