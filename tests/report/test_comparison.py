import math
import statistics

import pytest

from selfstudy.errors import UsageError
from selfstudy.modalities import SETTINGS
from selfstudy.probes.results import Ahead, held_out_scores
from selfstudy.probes.verdict import Verdict
from selfstudy.report.comparison import Comparison
from selfstudy.report.record import read_run
from selfstudy.runs.folder import RunFolder
from selfstudy.runs.settings import without_effect
from tests.report.conftest import PROTOCOL, score


def compare(*folders):
    return Comparison([read_run(RunFolder(folder)) for folder in folders], ignored=without_effect(SETTINGS))


def scored(pretrained, untrained=30.0, **more):
    return [score("untrained encoder", untrained, **more), score("pretrained encoder", pretrained, **more)]


def test_only_what_differs_is_listed(make_run):
    sections = dict(compare(make_run("a", workers=0), make_run("b", method="moco", workers=2)).sections())
    assert sections["settings that differ"] == [["method.name", "simclr", "moco"]]


@pytest.mark.parametrize(("key", "differs"), [("cache", False), ("cache_gigabytes", False), ("context", True)])
def test_a_setting_that_changes_no_result_is_no_difference(make_run, key, differs):
    runs = [make_run("a"), make_run("b")]
    for folder, value in zip(runs, (16, 32), strict=True):
        file = folder / "config.yaml"
        file.write_text(file.read_text().replace("data:\n", f"data:\n  {key}: {value}\n"))
    found = compare(*runs)
    assert len(found.columns) == 1 + differs
    assert dict(found.sections()).get("settings that differ") == ([[f"data.{key}", "16", "32"]] if differs else None)


def test_other_data_are_a_difference_even_at_the_same_path(make_run):
    sections = dict(compare(make_run("a"), make_run("b", fingerprint="0" * 64)).sections())
    assert sections["settings that differ"] == [["data", "photos (ffffffff)", "photos (00000000)"]]


def test_runs_that_differ_in_their_seed_alone_are_one_column_with_mean_and_deviation(make_run):
    accuracies = [50.0, 52.0, 57.0]
    runs = [make_run(f"s{seed}", seed=seed, scores=scored(a)) for seed, a in enumerate(accuracies)]
    found = compare(*runs, make_run("m", method="moco", scores=scored(40.0)))
    assert [column.name for column in found.columns] == ["s0 x3", "m"]
    number = next(one for one in found.numbers if one.features == "pretrained encoder")
    assert number.mean == pytest.approx(53.0) and number.deviation == pytest.approx(statistics.stdev(accuracies))
    assert number.gain == pytest.approx(23.0) and number.runs == 3
    assert "53.0 ± 3.6 % (+23.0)" in str(found) and "s0 x3: " in str(found)


def test_numbers_of_different_protocols_or_data_never_share_a_row(make_run):
    same = make_run("a", scores=scored(50.0, data="x"))
    other_protocol = make_run("b", method="moco", scores=scored(60.0, protocol="k-NN k=200", data="x"))
    other_data = make_run("c", method="byol", scores=scored(70.0, data="y"))
    rows = [
        row for name, rows in compare(same, other_protocol, other_data).sections() if "k-NN" in name for row in rows
    ]
    assert len(rows) == 6 and all(row.count("-") == 2 for row in rows)


def test_a_gain_is_held_against_the_untrained_encoder_of_the_same_run(make_run):
    found = compare(
        make_run("a", scores=scored(50.0, 30.0)),
        make_run("b", method="moco", scores=[score("pretrained encoder", 45.0)]),
    )
    gains = {(one.column, one.features): one.gain for one in found.numbers}
    assert gains["a", "pretrained encoder"] == 20.0 and math.isnan(gains["b", "pretrained encoder"])


def test_losses_stand_side_by_side_only_within_a_method(make_run):
    one, same, other = make_run("a", loss=2.0), make_run("b", loss=1.0, seed=1), make_run("c", method="moco")
    rows = {row[0]: row[1:] for row in dict(compare(one, same).sections())["training"]}
    assert rows["loss"] == ["1.500 ± 0.707"] and rows["steps"] == ["40 ± 0"]
    assert "loss" not in [row[0] for row in dict(compare(one, other).sections())["training"]]


def test_bits_per_byte_are_compared_between_tokenizers_and_figures_of_tokens_are_not(make_run):
    def figures(tokens):
        line = {"bits_per_byte": 1.2345, "accuracy": 33.3, "tokens": tokens, "text_bytes": 500, "protocol": "once"}
        return held_out_scores(line)

    found = compare(make_run("a", scores=figures(100)), make_run("b", method="moco", scores=figures(90)))
    assert [(one.probe, one.mean, one.unit) for one in found.numbers[:1]] == [("bits per byte", 1.2345, "bits/byte")]
    sections = dict(found.sections())
    assert sections["bits per byte [1]"] == [["pretrained encoder", "1.234", "1.234"]]
    assert sections["token accuracy [2]"] == [["pretrained encoder", "33.3 %", "-"]]
    assert sections["token accuracy [3]"] == [["pretrained encoder", "-", "33.3 %"]]


def test_runs_of_one_name_are_told_apart_by_their_folders(make_run, tmp_path):
    first, second = make_run("x/run"), make_run("y/run", method="moco")
    assert [column.name for column in compare(first, second).columns] == [str(first), str(second)]


def test_csv_holds_one_number_a_line(make_run):
    text = compare(make_run("a", scores=scored(50.0)), make_run("b", method="moco", scores=scored(40.0))).to_csv()
    lines = text.splitlines()
    assert lines[0].startswith("column,features,probe,mean,deviation,runs,gain") and len(lines) == 5
    assert lines[2].startswith("a,pretrained encoder,knn,50.0,nan,1,20.0") and PROTOCOL in lines[2]


def test_the_page_holds_the_same_rows_and_the_curves_of_all(make_run):
    html = compare(make_run("first", scores=scored(50.0)), make_run("second", seed=1, loss=1.0)).to_html()
    assert "<svg" in html and "first x2, seed 1" in html and "untrained encoder" in html


def test_one_run_or_the_same_twice_is_refused(make_run):
    folder = make_run("a")
    with pytest.raises(UsageError, match="1 run to compare\nname two or more"):
        compare(folder)
    with pytest.raises(UsageError, match="is named twice\nname every run once"):
        compare(folder, folder / ".." / "a")


def test_a_setting_that_an_older_run_lacks_or_left_open_is_no_difference(make_run):
    runs = [
        make_run("a", more_config="optimizer:\n  schedule: auto\n"),
        make_run("b"),
        make_run("c", more_config="optimizer:\n  schedule: cosine\n"),
    ]
    comparison = Comparison([read_run(RunFolder(run)) for run in runs], ignored=set())
    assert "optimizer.schedule" not in str(comparison)


def judged(kind, sentence, **more):
    return Verdict(kind, sentence).line(**{"data": "d", "test": None, "step": 40, **more})


def test_each_run_shows_its_verdict_and_the_first_part_of_its_sentence(make_run):
    lost = judged(
        "free", "Not better than patches: use --method patches (1.0 against 2.0, linear). It took 3 steps only."
    )
    runs = [make_run(f"s{seed}", seed=seed, lines=[judged("use", f"Use {seed}.")]) for seed in range(2)]
    found = compare(*runs, make_run("s2", seed=2, lines=[lost]), make_run("m", method="moco", lines=[lost]))
    assert dict(found.sections())["verdict"] == [["d", "use (2 of 3), free (1 of 3)", "free"]]
    assert "s0 x3, seed 1: Use 1.\n" in str(found) and "\nm: Not better than patches: use --method" in str(found)
    assert "It took 3 steps only" not in str(found) and "Use 0." in found.to_html()


def test_the_difference_to_the_best_free_row_has_its_own_row_with_half_the_interval(make_run):
    ahead = Ahead(-2.0, -3.0, -1.0, "raw pixels (area-averaged to 32x32)")
    a = make_run("a", scores=[score("patches", 50.0, free=True), score("pretrained encoder", 48.0, ahead=ahead)])
    seeds = [
        make_run(f"s{seed}", seed=seed, method="moco", scores=[score("pretrained encoder", 52.0, ahead=one)])
        for seed, one in enumerate(
            [Ahead(1.0, 0.0, 2.0, "patches"), Ahead(3.0, 2.0, 4.0, "untrained encoder, statistics set")]
        )
    ]
    found = compare(a, *seeds)
    rows = [row for name, rows in found.sections() if "k-NN" in name for row in rows]
    assert rows[-1] == ["ahead of the best free row", "-2.0 ± 1.0 (raw pixels)", "+2.0 (patches, untrained encoder)"]
    assert "ahead,low,high,free_row" in found.to_csv().splitlines()[0]
    assert "ahead of the best" not in str(compare(make_run("x"), make_run("y", method="byol", scores=scored(50.0))))


def test_a_score_that_some_seeds_do_not_have_says_so(make_run):
    runs = [make_run(f"s{seed}", seed=seed, scores=scored(50.0 + seed) if seed else []) for seed in range(3)]
    assert "51.5 ± 0.7 % (+21.5) [2 of 3 seeds]" in str(compare(*runs, make_run("m", method="moco")))
