import csv
import json
import math
import re

import pytest

from selfstudy.probes.results import HELD_OUT_TEXT, Ahead, Results, Score, held_out_scores, scores_in, wilson
from selfstudy.probes.verdict import Verdict


@pytest.fixture
def results():
    return Results(
        [
            Score("raw pixels", "knn", 36.3, "k-NN k=20"),
            Score("raw pixels", "linear", 41.33, "linear: seed 0"),
            Score("pretrained encoder", "knn", 53.7, "k-NN k=20"),
        ]
    )


def test_it_prints_an_aligned_table_with_each_protocol_once(results):
    assert str(results).splitlines() == [
        "features              k-NN  linear",
        "raw pixels          36.3 %  41.3 %",
        "pretrained encoder  53.7 %       -",
        "",
        "k-NN k=20",
        "linear: seed 0",
    ]
    assert repr(results) == str(results)


def test_a_verdict_is_the_last_line(results):
    judged = Results(results, "Use raw pixels.")
    assert str(judged).splitlines() == [*str(results).splitlines(), "", "Use raw pixels."]
    assert judged.on("d", None, step=3).verdict == "Use raw pixels." and results.verdict is None


def test_the_line_of_a_verdict_is_no_score():
    assert scores_in(Verdict("use", "Use this encoder.").line("d", None, step=3)) == []


def test_a_spread_is_printed_with_its_number_and_the_legend_says_what_it_is():
    text = str(Results([Score("x", "low-shot-1", 45.25, "p", 1.04), Score("x", "low-shot-5", 50.0, "p", 0.0)]))
    assert text.splitlines() == [
        "features        1 label       5 labels",
        "x         45.2 sd 1.0 %  50.0 sd 0.0 %",
        "",
        "sd: standard deviation over draws of labels",
        "p",
    ]


def test_half_the_interval_is_printed_with_its_number_and_the_legend_says_what_it_is():
    few = Score("x", "low-shot-1", 45.25, "p", 1.04, interval=(43.0, 47.4))
    text = str(
        Results([Score("x", "knn", 71.5, "p", interval=(70.6, 72.4)), Score("x", "sts", 60.0, "p", unit=""), few])
    )
    assert re.split("  +", text.splitlines()[1])[-3:] == ["71.5 ±0.9 %", "60.0", "45.2 ±2.2 sd 1.0 %"]
    assert text.splitlines()[3] == (
        "±: half of the 95 % interval over draws of the test examples, sd: standard deviation over draws of labels"
    )
    unknown = Score("x", "sts", 71.5, "p", interval=(math.nan, math.nan))
    assert str(Results([unknown])).splitlines()[1] == "x         71.5 %"


def test_a_table_wider_than_a_page_goes_on_below():
    scores = [Score(name, f"probe number {n}", n, "p") for name in ("x", "y") for n in range(9)]
    blocks = str(Results(scores)).split("\n\n")
    assert [block.splitlines()[0].split("  ")[0] for block in blocks[:-1]] == ["features"] * 3 and blocks[-1] == "p"
    assert max(len(line) for block in blocks for line in block.splitlines()) <= 80
    assert "".join(blocks).count("probe number") == 9 and "".join(blocks).count("8.0 %") == 2


def test_numbers_of_different_protocols_show_both(results):
    other = Results([*results, Score("untrained encoder", "knn", 37.4, "k-NN k=7")])
    assert str(other).splitlines()[-3:] == ["k-NN k=20", "linear: seed 0", "k-NN k=7"]


def test_one_number_is_found_by_features_and_probe(results):
    assert results.accuracy("pretrained encoder", "knn") == 53.7
    with pytest.raises(KeyError):
        results.accuracy("pretrained encoder", "linear")


def test_it_is_a_sequence_of_scores(results):
    assert len(results) == 3
    assert [score.accuracy for score in results] == [36.3, 41.33, 53.7]


def test_the_dictionary_holds_columns(results):
    columns = results.to_dict()
    names = ["features", "probe", "accuracy", "protocol", "spread", "unit", "low", "high", "data", "test"]
    names += ["free", "ahead", "ahead_low", "ahead_high", "ahead_of"]
    assert list(columns) == names == list(Results([]).to_dict())
    assert columns["accuracy"] == [36.3, 41.33, 53.7] and columns["unit"] == ["%"] * 3
    assert columns["probe"] == ["knn", "linear", "knn"]


def test_csv_survives_commas_and_goes_to_a_file(tmp_path):
    scores = [Score("raw pixels", "knn", 36.3, "k=20, 50,000 train", interval=(30.5, 42.0), data="x", free=True)]
    scores.append(Score("encoder", "knn", 30.0, "p", ahead=Ahead(-6.3, -9.0, -3.5, "raw pixels")))
    text = Results(scores).to_csv(tmp_path / "results.csv")
    assert text == (
        "features,probe,accuracy,protocol,spread,unit,low,high,data,test,free,ahead,ahead_low,ahead_high,ahead_of\n"
        'raw pixels,knn,36.3,"k=20, 50,000 train",,%,30.5,42.0,x,,True,,,,\n'
        "encoder,knn,30.0,p,,%,,,,,False,-6.3,-9.0,-3.5,raw pixels\n"
    )
    with (tmp_path / "results.csv").open(newline="", encoding="utf-8") as file:
        assert list(csv.DictReader(file))[0]["protocol"] == "k=20, 50,000 train"
    assert Results(scores).to_csv() == text


def test_a_value_keeps_its_older_name_and_place():
    score = Score("x", "knn", 36.3, "p", 0.5)
    assert score.value == score.accuracy == score[2] == 36.3 and score[3:5] == ("p", 0.5)


def test_scores_are_told_on_which_data_they_were_measured(results):
    assert {(score.data, score.test) for score in results.on("labelled", None)} == {("labelled", None)}


def test_a_line_of_a_file_becomes_the_score_it_came_from():
    score = Score("x", "iou", 0.4, "p", 0.1, unit="px", interval=(0.25, 0.5), data="d", test="t")
    score = score._replace(free=True, ahead=Ahead(-1.0, -2.0, 0.5, "raw pixels"), step=40)
    line = score.line()
    first = ["features", "probe", "value", "unit", "interval", "protocol", "data", "test", "spread"]
    assert list(line) == [*first, "free", "step", "ahead"]
    assert scores_in(json.loads(json.dumps(line))) == [score]
    bare = Score("x", "sts", 71.0, "p", unit="")
    assert scores_in(json.loads(json.dumps(bare.line()))) == [bare]


def test_a_damaged_difference_is_left_out():
    line = Score("x", "knn", 36.3, "p", ahead=Ahead(1.0, 0.5, 1.5, "y")).line()
    assert scores_in(line)[0].ahead == Ahead(1.0, 0.5, 1.5, "y")
    assert scores_in(line | {"ahead": {"value": "1", "low": 0, "high": 2}})[0].ahead is None
    assert scores_in(line | {"ahead": 7})[0].ahead is None


def test_older_lines_of_labelled_data_are_read():
    line = {"features": "x", "probe": "knn", "accuracy": 36.3, "protocol": "p", "spread": None, "data": "d"}
    assert scores_in(line) == [Score("x", "knn", 36.3, "p", data="d")]
    assert scores_in(line | {"spread": 1.5, "test": "t"}) == [Score("x", "knn", 36.3, "p", 1.5, data="d", test="t")]
    assert scores_in(line | {"probe": "sts"})[0].unit == ""


OLD_HELD_OUT = {
    "features": "pretrained encoder", "probe": "held-out text", "data": "documents of digest abc",
    "bits_per_byte": 1.5, "perplexity": 12.0, "nats_per_token": 2.5, "tokens": 2000, "text_bytes": 5000,
    "accuracy": 33.5, "protocol": "every held-out token once",
}  # fmt: skip


def test_an_older_line_of_a_masked_model_has_the_protocol_of_today():
    line = OLD_HELD_OUT | {"protocol": "masks of 15 %, 300 tokens guessed, none of them special"}
    assert scores_in(line)[0].protocol == "masks of 15 %, 300 tokens predicted, none of them special"


def test_older_lines_of_held_out_text_are_read_as_one_score_for_each_figure():
    bits, nats, perplexity, accuracy = scores_in(OLD_HELD_OUT)
    assert bits == Score(
        "pretrained encoder", "bits per byte", 1.5, "every held-out token once", unit="bits/byte",
        data="documents of digest abc",
    )  # fmt: skip
    own = "every held-out token once; 2,000 tokens, 5,000 bytes"  # another tokenizer cuts other tokens
    assert [one[1:4] for one in (nats, perplexity, accuracy)] == [
        ("nats per token", 2.5, own), ("perplexity", 12.0, own), ("token accuracy", 33.5, own),
    ]  # fmt: skip
    assert [one.unit for one in (nats, perplexity, accuracy)] == ["nats/token", "", "%"]
    assert held_out_scores(OLD_HELD_OUT) == [bits, nats, perplexity, accuracy]
    assert HELD_OUT_TEXT == ("bits per byte", "nats per token", "perplexity", "token accuracy")
    assert len(scores_in(OLD_HELD_OUT | {"perplexity": math.inf, "accuracy": None})) == 2


@pytest.mark.parametrize("damage", [{"value": None}, {"value": "7"}, {"value": math.nan}, {}])
def test_a_line_without_a_number_holds_no_score(damage):
    assert scores_in({"features": "x", "probe": "knn", **damage}) == []


def test_what_else_is_damaged_on_a_line_is_left_out():
    line = {"features": 3, "value": 7, "interval": [1, "x"], "spread": "x", "data": ["d"]}
    assert scores_in(line) == [Score("3", "", 7, "", data="['d']")]
    assert scores_in(OLD_HELD_OUT | {"tokens": "x"})[1].protocol.endswith("; 0 tokens, 5,000 bytes")


def test_the_interval_is_that_of_wilson_and_stays_in_range():
    z, p, n = 1.959964, 0.3, 50  # the ends solve |p - x| = z sqrt(x (1 - x) / n)
    for end in wilson(100 * p, n):
        x = end / 100
        assert abs(p - x) == pytest.approx(z * math.sqrt(x * (1 - x) / n), rel=1e-9)
    assert wilson(0.0, 10) == (0.0, pytest.approx(27.75, abs=0.01))
    assert wilson(100.0, 10) == (pytest.approx(72.25, abs=0.01), pytest.approx(100))


def test_no_scores_print_an_empty_table():
    assert str(Results([])) == "features\n\n"[:-1]
