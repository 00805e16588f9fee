"""The page about one run: its scores, curves, data and settings, and how to use its encoder."""

import base64
from collections.abc import Sequence
from typing import NamedTuple

import jinja2
from markupsafe import Markup

from selfstudy.probes.results import HELD_OUT_TEXT, Results, Score, is_number, title
from selfstudy.report.figures import Curve, Panel, draw
from selfstudy.report.record import Line, RunRecord

_PLACE = {"step", "total", "time"}
_TITLES = {
    "loss": "loss",
    "learning_rate": "learning rate",
    "gradient_norm": "gradient norm",
    "data_wait": "share of time waiting for data",
    "effective_rank": "effective rank",
    "dimension_std": "dimension std (0 collapsed, 1 even)",
    "alignment": "alignment of two views (0 is best)",
    "uniformity": "uniformity (0 collapsed, -4 even)",
    "teacher_entropy": "entropy of the teacher, nats",
}
_CAPTIONS = {
    "views": "an image, followed by its views as the method saw them",
    "filters": "the filters that look at pixels, from low to high frequencies",
}
_HEALTH = ("effective_rank", "dimension_std", "uniformity", "alignment", "teacher_entropy")


class Cell(NamedTuple):
    """One cell of a table of scores.

    Attributes:
        text: the score, or a heading.
        best: True for the best score of a column among the rows that are free.
    """

    text: str
    best: bool = False


class Table(NamedTuple):
    """Scores on one pair of data sets.

    Attributes:
        data: the name of the data that the probes learnt from; None if it was not recorded.
        test: the name of the test data; None if they were not given separately.
        rows: rows of cells; the first is the heading.
        free: True if a row is marked as the best of those that are free.
        notes: the meaning of the numbers after ±, and the protocols of all scores, each once.
    """

    data: str | None
    test: str | None
    rows: list[list[Cell]]
    free: bool
    notes: list[str]


def render_run(record: RunRecord) -> str:
    """The page as HTML that needs no other file and no network."""
    return template("run.html").render(
        run=record,
        about=_about(record),
        verdicts=record.verdicts[::-1],
        health=record.health[-1] if record.health else None,
        scores=score_tables(record.evaluations, step=record.last.get("step")),
        read=Markup(draw(reading_panels(record))),
        labels_asked=any(score.probe not in HELD_OUT_TEXT for score in record.evaluations),
        training=Markup(draw(training_panels(record))),  # matplotlib has escaped every name in it
        watched=Markup(draw(health_panels({"": record}))),
        pictures=[
            (_CAPTIONS.get(picture.stem, picture.stem), base64.b64encode(picture.read_bytes()).decode())
            for picture in record.pictures
        ],
    )


def template(name: str) -> jinja2.Template:
    """A template of ``templates/``; everything that is put into it is escaped."""
    loader = jinja2.PackageLoader("selfstudy.report")
    pages = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    return pages.get_template(name)


def _about(record: RunRecord) -> list[str]:
    """A few words about the run."""
    settings, last = record.settings, record.last
    words = [str(settings.get(f"{group}.name")) for group in ("method", "encoder")]
    words += [f"on {settings.get('data.path')}", str(settings.get("train.duration"))]
    if last:
        what = "stages" if last.get("loss", 0) is None else "steps"  # only stages of solved methods have no loss
        words.append(f"{last.get('step', 0):,} of {last.get('total', 0):,} {what}")
    if record.speed:
        words.append(f"{record.speed[1]:,.0f} {record.speed[0]} per second")
    return words


def score_tables(scores: Sequence[Score], *, step: int | None = None) -> list[Table]:
    """The tables of scores, one for each pair of data sets, or several if a score was measured in several ways.

    Args:
        scores: the scores of a run.
        step: the steps that the run has taken by now; a score of an earlier step says so.
    """
    tables: list[tuple[tuple[str | None, str | None], dict[tuple[str, str], Score]]] = []
    for score in (_dated(score, step) for score in scores):
        data, place = (score.data, score.test), (score.features, score.probe)
        cells = next((cells for of, cells in tables if of == data and place not in cells), None)
        if cells is None:
            cells = {}
            tables.append((data, cells))
        cells[place] = score
    return [_table(*data, Results(cells.values())) for data, cells in tables]


def _dated(score: Score, step: int | None) -> Score:
    """The score; one of the trained encoder at an earlier step has that step in the name of its row."""
    if score.free or score.step in (None, step):
        return score
    return score._replace(features=f"{score.features} of step {score.step:,}")


def _table(data: str | None, test: str | None, results: Results) -> Table:
    """The table of results, with the best free row of each column."""
    free = [score for score in results if score.free]
    best = {probe: max(one.value for one in free if one.probe == probe) for probe in {score.probe for score in free}}
    marked = {score[:2] for score in free if score.value == best[score.probe]}
    probes = list(dict.fromkeys(score.probe for score in results))
    heading, *rows = results.table()
    cells = [
        [Cell(name), *(Cell(text, (name, probe) in marked) for text, probe in zip(texts, probes, strict=True))]
        for name, *texts in rows
    ]
    return Table(
        data, test, [[Cell(text) for text in heading], *cells], bool(free), results.legend() + results.protocols()
    )


def reading_panels(record: RunRecord) -> list[Panel]:
    """A panel for each probe that was read during training, over minutes, with the best free row as a line."""
    lines = [line for line in record.readings if is_number(line.get("value"))]
    panels = []
    for probe in dict.fromkeys(str(line.get("probe")) for line in lines):
        own = [line for line in lines if line.get("probe") == probe and is_number(line.get("seconds"))]
        known = all(is_number(line.get("low")) and is_number(line.get("high")) for line in own)
        ends = [(line["low"], line["high"]) for line in own] if known else []
        curve = Curve("", [line["seconds"] / 60 for line in own], [line["value"] for line in own], ends)
        marks = [
            (line["value"], str(line.get("row"))) for line in lines if line.get("probe") == probe and line.get("free")
        ]
        panels.append(Panel(f"{title(probe)}, %, by minutes of training", [curve], marks))
    return panels


def training_panels(record: RunRecord) -> list[Panel]:
    """A panel for each value that was logged in training."""
    names = dict.fromkeys(name for line in record.metrics for name in line if name not in _PLACE)
    curves = {name: curve_of("", record.metrics, name) for name in names}
    return [
        Panel(_title(name), [curve], _marks(record) if name == "loss" else ())
        for name, curve in curves.items()
        if curve.values  # a solved method has no loss
    ]


def health_panels(records: dict[str, RunRecord]) -> list[Panel]:
    """A panel for each label-free statistic that some run has, with a named curve for each run."""
    panels = []
    for name in _HEALTH:
        curves = [curve_of(run, record.health, name) for run, record in records.items()]
        if any(curve.values for curve in curves):
            panels.append(Panel(_title(name), curves))
    return panels


def curve_of(name: str, lines: list[Line], key: str) -> Curve:
    """The curve of a logged value over the steps at which it is a finite number."""
    chosen = [(line["step"], line[key]) for line in lines if is_number(line.get(key)) and is_number(line.get("step"))]
    return Curve(name, [step for step, _ in chosen], [value for _, value in chosen])


def _marks(record: RunRecord) -> list[tuple[float, str]]:
    """The loss at chance, if the method has one."""
    chance = record.health[-1].get("chance_loss") if record.health else None
    return [(chance, "nothing learnt")] if is_number(chance) else []


def _title(name: str) -> str:
    return _TITLES.get(name, name.replace("_", " "))
