import json
import math
import re

import pytest

from selfstudy.probes.results import held_out_scores
from selfstudy.probes.verdict import Verdict
from selfstudy.report.figures import Curve
from selfstudy.report.page import (
    Cell,
    curve_of,
    health_panels,
    reading_panels,
    render_run,
    score_tables,
    training_panels,
)
from selfstudy.report.record import read_run
from selfstudy.runs.folder import RunFolder
from tests.report.conftest import PROTOCOL, score


def page(folder):
    return render_run(read_run(RunFolder(folder)))


def words(html):
    """The text that a reader sees outside the figures, on one line."""
    return " ".join(re.sub(r"<svg.*?</svg>|<style>.*?</style>|<[^>]+>", " ", html, flags=re.DOTALL).split())


def test_a_page_shows_scores_verdict_data_settings_and_how_to_use_the_encoder(make_run):
    scores = [score("raw pixels", 30.0, data="labelled"), score("pretrained encoder", 51.52, data="labelled")]
    text = words(page(make_run("a", scores=scores)))
    for shown in (
        "simclr · resnet10t · on photos · 40 steps · 40 of 40 steps · 4,000 images per second",
        "Training health: healthy: effective rank 12",
        "labelled features k-NN raw pixels 30.0 % pretrained encoder 51.5 % " + PROTOCOL,
        "3 images used: 2 PNG, 1 JPEG; 30x50 to 40x60 px",
        "1 truncated",
        "data.image_size 32 the median side",
        "(2, 512) float32",
    ):
        assert shown in text, shown


def test_a_page_needs_no_other_file_and_no_network(make_run):
    html = page(make_run("a"))
    links = re.findall(r"""(?:src|href)=["']([^"'#]+)""", re.sub(r"<svg.*?</svg>", "", html, flags=re.DOTALL))
    assert links and all(link.startswith("data:image/png;base64,") for link in links)
    assert "<script" not in html


def test_a_spread_over_draws_is_printed_with_its_number(make_run):
    scores = [
        score("pretrained encoder", 51.52, probe="low-shot-5", spread=1.26),
        score("raw pixels", 30.0, spread=None),
    ]
    text = words(page(make_run("a", scores=scores)))
    assert "features 5 labels k-NN pretrained encoder 51.5 sd 1.3 % - raw pixels - 30.0 %" in text


def test_without_scores_the_page_says_how_to_get_them(make_run):
    assert "With some labelled data: selfstudy evaluate" in words(page(make_run("a")))


def test_held_out_text_is_shown_with_its_units(make_run):
    line = {"bits_per_byte": 1.2345, "nats_per_token": 2.5, "perplexity": 12.18, "accuracy": 33.3}
    line |= {"tokens": 1000, "text_bytes": 2500, "protocol": "every token once", "data": "documents of digest f00"}
    text = words(page(make_run("a", scores=held_out_scores(line))))
    assert "features bits per byte nats per token perplexity token accuracy" in text
    assert "pretrained encoder 1.234 2.5000 12.2 33.3 % every token once every token once; 1,000 tokens, 2," in text
    assert "No labels have been used yet" in text


@pytest.mark.parametrize("name", ["config.yaml", "environment.json", "evaluations.jsonl", "health.jsonl"])
def test_nothing_that_a_file_holds_becomes_part_of_the_page(make_run, name):
    bad = "<script>alert(1)</script>"
    scores = [score("pretrained encoder", 50.0, data=bad, protocol=bad)] if name == "evaluations.jsonl" else []
    folder = make_run("a", scores=scores, more_config=f"health:\n  note: '{bad}'\n" if name == "config.yaml" else "")
    if name == "environment.json":
        (folder / name).write_text(json.dumps({"python": bad}), encoding="utf-8")
    if name == "health.jsonl":
        (folder / name).write_text(json.dumps({"verdict": bad, "message": bad}), encoding="utf-8")
    html = page(folder)
    assert bad not in html and "&lt;script&gt;" in html


def test_every_logged_value_has_a_panel_and_the_loss_its_value_at_chance(make_run):
    record = read_run(RunFolder(make_run("a")))
    panels = {panel.title: panel for panel in training_panels(record)}
    assert list(panels) == ["loss", "images per second"]
    assert panels["loss"].curves[0].values == [4.0, 2.0] and panels["loss"].marks == [(5.5, "nothing learnt")]
    assert [panel.title.split(" (")[0] for panel in health_panels({"": record})] == ["effective rank", "dimension std"]


def test_a_value_that_is_not_finite_is_no_point_of_a_curve():
    lines = [{"step": 1, "loss": 2.0}, {"step": 2, "loss": math.inf}, {"step": 3}, {"step": None, "loss": 1.0}]
    assert curve_of("a", lines, "loss") == Curve("a", [1], [2.0])


def test_data_sets_are_not_mixed_in_one_table():
    tables = score_tables([score("raw pixels", 30.0, data="a"), score("raw pixels", 40.0, data="b", test="c")])
    assert [(table.data, table.test, [cell.text for cell in table.rows[1]]) for table in tables] == [
        ("a", None, ["raw pixels", "30.0 %"]),
        ("b", "c", ["raw pixels", "40.0 %"]),
    ]


def test_numbers_measured_in_two_ways_are_both_shown():
    tables = score_tables([score("raw pixels", 30.0), score("raw pixels", 40.0, protocol="k-NN k=200")])
    assert [(table.rows[1][1].text, table.notes) for table in tables] == [
        ("30.0 %", [PROTOCOL]),
        ("40.0 %", ["k-NN k=200"]),
    ]


USE, LEAVE = Verdict("use", "Use this encoder: better."), Verdict("free", "Not better than patches: use those.")


def test_the_newest_sentence_stands_first_and_health_stands_under_training(make_run):
    lines = [LEAVE.line("a", None, step=40), USE.line("b", "c", step=40), LEAVE.line("b", "c", step=40)]
    html = page(make_run("a", lines=lines))
    assert (
        'class="verdict free">Not better' in html and "Use this encoder" not in html and "verdict healthy" not in html
    )
    text = words(html)
    assert "use those. b, tested on c Not better than patches: use those. a How good it is" in text
    assert text.index("How good it is") < text.index("Training health: healthy") < text.index("nothing about the worth")


@pytest.mark.parametrize(
    ("scores", "why"),
    [([], "no labels have been used"), ([score("raw pixels", 30.0)], "its scores are older than this")],
)
def test_without_a_sentence_nothing_at_the_top_reads_as_praise(make_run, scores, why):
    text = words(page(make_run("a", scores=scores)))
    top = text[: text.index("How good it is")]
    assert "Nobody knows yet if this encoder is worth using: " + why in top and "healthy" not in top


def test_what_was_measured_at_an_earlier_step_says_so(make_run):
    own, free = score("pretrained encoder", 50.0, step=20), score("raw pixels", 30.0, step=20, free=True)
    text = words(page(make_run("a", scores=[free, own], lines=[USE.line("d", None, step=20)])))
    assert "better. d; of step 20" in text and "pretrained encoder of step 20 50.0 %" in text
    assert "raw pixels of step" not in text
    now = words(page(make_run("b", scores=[own._replace(step=40)], lines=[USE.line("d", None, step=40)])))
    assert "of step" not in now


def test_the_best_free_row_of_a_column_is_marked():
    scores = [
        score("raw pixels", 30.0, free=True),
        score("patches", 40.0, free=True, interval=(38.0, 42.04)),
        score("pretrained encoder", 50.0),
        score("pretrained encoder", 60.0, probe="linear"),
    ]
    (table,) = score_tables(scores)
    assert table.free and [row[1] for row in table.rows[1:]] == [
        Cell("30.0 %"),
        Cell("40.0 ±2.0 %", best=True),
        Cell("50.0 %"),
    ]
    assert table.rows[1][2] == Cell("-") and not score_tables(scores[2:])[0].free


def test_readings_are_drawn_over_minutes_with_the_best_free_row_as_a_line(make_run):
    folder = make_run("a")
    free = {"step": None, "row": "patches", "free": True, "probe": "knn", "value": 70.0}
    ends = [(10.0, 30.0), (35.0, 45.0)]
    lines = [
        {"step": step, "seconds": 60.0 * step, "probe": "knn", "value": value, "low": low, "high": high}
        for (step, value), (low, high) in zip([(0, 20.0), (2, 40.0)], ends, strict=True)
    ]
    (folder / "readings.jsonl").write_text("".join(json.dumps(line) + "\n" for line in [free, *lines]))
    (panel,) = reading_panels(read_run(RunFolder(folder)))
    assert panel.curves == [Curve("", [0.0, 2.0], [20.0, 40.0], ends)] and panel.marks == [(70.0, "patches")]
    assert panel.title == "k-NN, %, by minutes of training" and "held out of the labelled train part" in page(folder)
    assert "held out of the labelled train part" not in page(make_run("b"))


def test_a_solved_run_has_stages_and_no_empty_curve_of_a_loss(make_run):
    folder = make_run("solved")
    lines = [{"step": step, "total": 2, "loss": None, "images": 40.0 * step} for step in (1, 2)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    record = read_run(RunFolder(folder))
    assert [panel.title for panel in training_panels(record)] == ["images"]
    assert "2 of 2 stages" in words(render_run(record))
