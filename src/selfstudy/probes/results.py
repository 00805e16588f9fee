"""The table of an evaluation: features x probe, each number with the protocol it was measured under."""

import csv
import io
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

_TITLES = {"knn": "k-NN", "sts": "STS", "finetune": "fine-tuned"}
_TITLES |= {"low-shot-1": "1 label", "low-shot-5": "5 labels", "low-shot-25": "25 labels"}
_TITLES |= {"retrieval-map": "mAP", "retrieval-recall-1": "R@1", "retrieval-recall-5": "R@5"}
_PERCENT = (1, " %")
_DIGITS_AND_UNITS = {"sts": (1, ""), "bits per byte": (3, "")}  # of all that are no percentages
_WIDTH = 80  # characters; a wider table goes on below


class Score(NamedTuple):
    """One number of an evaluation.

    Attributes:
        features: what was probed, e.g. ``"pretrained encoder"``.
        probe: ``"knn"``, ``"linear"``, ``"finetune"`` or ``"sts"``; ``"low-shot-5"`` with 5 labels of each class;
            ``"retrieval-map"`` or ``"retrieval-recall-5"``.
        accuracy: in percent; of ``"sts"`` Spearman's correlation times 100.
        protocol: how it was measured; numbers with different protocols must not be compared.
        spread: standard deviation over repetitions, where there were any.
    """

    features: str
    probe: str
    accuracy: float
    protocol: str
    spread: float | None = None


class Results:
    """Scores in the order they were given; prints as a plain text table.

    >>> print(Results([Score("raw pixels", "knn", 36.3, "k-NN k=20"), Score("pretrained", "knn", 53.7, "k-NN k=20")]))
    features      k-NN
    raw pixels  36.3 %
    pretrained  53.7 %
    <BLANKLINE>
    k-NN k=20
    """

    def __init__(self, scores: Iterable[Score]) -> None:
        self.scores = tuple(scores)

    def __iter__(self) -> Iterator[Score]:
        return iter(self.scores)

    def __len__(self) -> int:
        return len(self.scores)

    def __str__(self) -> str:
        """Features down, probes across, in as many blocks as a page needs, then each protocol once."""
        first, *columns = (list(column) for column in zip(*self.table(), strict=True))
        return "\n".join([line for block in _blocks(first, columns) for line in [*block, ""]] + self.protocols())

    def table(self) -> list[list[str]]:
        """Features down, probes across, as text; the first row and the first column are headings."""
        cells = {score[:2]: shown(score.probe, score.accuracy, score.spread) for score in self.scores}
        probes = list(dict.fromkeys(score.probe for score in self.scores))
        rows = [["features", *(title(probe) for probe in probes)]]
        for name in dict.fromkeys(score.features for score in self.scores):
            rows.append([name, *(cells.get((name, probe), "-") for probe in probes)])
        return rows

    def protocols(self) -> list[str]:
        """How the numbers were measured, each way once."""
        return list(dict.fromkeys(score.protocol for score in self.scores))

    def __repr__(self) -> str:
        return str(self)

    def accuracy(self, features: str, probe: str) -> float:
        """One number, in percent.

        Raises:
            KeyError: these features were not measured with this probe.
        """
        return {score[:2]: score.accuracy for score in self.scores}[features, probe]

    def to_dict(self) -> dict[str, list[Any]]:
        """Columns, the fields of :class:`Score`: what ``pandas.DataFrame`` takes."""
        return {column: [getattr(score, column) for score in self.scores] for column in Score._fields}

    def to_csv(self, path: str | Path | None = None) -> str:
        """The rows as CSV with a header; also written to ``path`` if there is one."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerows([Score._fields, *self.scores])
        if path is not None:
            Path(path).write_text(text.getvalue(), encoding="utf-8")
        return text.getvalue()

    def to_jsonl(self) -> str:
        """One JSON object per number and line, each line ended: ready to append to ``evaluations.jsonl``."""
        return "".join(json.dumps(score._asdict(), ensure_ascii=False) + "\n" for score in self.scores)


def title(probe: str) -> str:
    """What a probe is called in a table."""
    return _TITLES.get(probe, probe)


def shown(probe: str, value: float, deviation: float | None = None) -> str:
    """A number of a probe with its unit, and with its standard deviation if there is one.

    >>> shown("knn", 51.52, 0.7)
    '51.5 ± 0.7 %'
    """
    digits, unit = _DIGITS_AND_UNITS.get(probe, _PERCENT)
    spread = "" if deviation is None else f" ± {deviation:.{digits}f}"
    return f"{value:.{digits}f}{spread}{unit}"


def _blocks(first: list[str], columns: list[list[str]]) -> list[list[str]]:
    """The lines of tables that begin with the first column and hold as many of the others as a page has room for."""
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
