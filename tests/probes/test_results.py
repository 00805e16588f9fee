import csv
import json

import pytest

from selfstudy.probes.results import Results, Score


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


def test_a_spread_stands_beside_its_number():
    text = str(Results([Score("x", "low-shot-1", 45.25, "p", 1.04), Score("x", "low-shot-5", 50.0, "p", 0.0)]))
    assert text.splitlines()[:2] == ["features       1 label      5 labels", "x         45.2 ± 1.0 %  50.0 ± 0.0 %"]


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
    assert list(columns) == ["features", "probe", "accuracy", "protocol", "spread"]
    assert columns["accuracy"] == [36.3, 41.33, 53.7]
    assert columns["probe"] == ["knn", "linear", "knn"]


def test_csv_survives_commas_and_goes_to_a_file(tmp_path):
    scores = [Score("raw pixels", "knn", 36.3, "k=20, 50,000 train")]
    text = Results(scores).to_csv(tmp_path / "results.csv")
    assert text == 'features,probe,accuracy,protocol,spread\nraw pixels,knn,36.3,"k=20, 50,000 train",\n'
    with (tmp_path / "results.csv").open(newline="", encoding="utf-8") as file:
        assert list(csv.DictReader(file))[0]["protocol"] == "k=20, 50,000 train"
    assert Results(scores).to_csv() == text


def test_jsonl_holds_one_object_per_number(results):
    lines = results.to_jsonl().splitlines()
    assert [Score(**json.loads(line)) for line in lines] == list(results)
    assert results.to_jsonl().endswith("\n")


def test_no_scores_print_an_empty_table():
    assert str(Results([])) == "features\n\n"[:-1]
