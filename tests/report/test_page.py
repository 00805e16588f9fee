import json
import math
import re

import pytest

from selfstudy.probes.results import held_out_scores
from selfstudy.report.page import curve_of, health_panels, render_run, score_tables, training_panels
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
        "healthy: effective rank 12",
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
    assert curve_of("a", lines, "loss") == ("a", [1], [2.0])


def test_data_sets_are_not_mixed_in_one_table():
    tables = score_tables([score("raw pixels", 30.0, data="a"), score("raw pixels", 40.0, data="b", test="c")])
    assert [(table.data, table.test, table.rows[1]) for table in tables] == [
        ("a", None, ["raw pixels", "30.0 %"]),
        ("b", "c", ["raw pixels", "40.0 %"]),
    ]


def test_numbers_measured_in_two_ways_are_both_shown():
    tables = score_tables([score("raw pixels", 30.0), score("raw pixels", 40.0, protocol="k-NN k=200")])
    assert [(table.rows[1][1], table.protocols) for table in tables] == [
        ("30.0 %", [PROTOCOL]),
        ("40.0 %", ["k-NN k=200"]),
    ]
