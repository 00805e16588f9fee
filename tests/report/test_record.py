import json

import pytest

from selfstudy.errors import FileRefusedError
from selfstudy.probes.verdict import Verdict
from selfstudy.report.record import Inputs, Judged, read_run
from selfstudy.runs.folder import RunFolder
from tests.report.conftest import score


def test_a_run_is_read_whole(make_run):
    record = read_run(RunFolder(make_run("a")))
    assert record.settings["train.duration"] == "40 steps"
    assert record.reasons == {"data.image_size": "the median side"}
    assert record.inputs == Inputs(3, {"PNG": 2, "JPEG": 1}, {"truncated": 1}, ((30, 50), (40, 60)))
    assert record.last["step"] == 40 and record.speed == ("images", 4000.0)
    assert [picture.name for picture in record.pictures] == ["views.png"]


def test_a_run_that_has_just_begun_is_read_too(tmp_path):
    (tmp_path / "config.yaml").write_text("data: {path: photos}\n", encoding="utf-8")
    record = read_run(RunFolder(tmp_path))
    assert record.settings == {"data.path": "photos"}
    assert (record.metrics, record.inputs, record.speed, record.last, record.pictures) == ([], None, None, {}, [])


def test_a_line_that_a_kill_has_torn_is_left_out(make_run):
    folder = make_run("a")
    with (folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write('[1]\n{"step": 60, "lo')
    assert read_run(RunFolder(folder)).last["step"] == 40


def test_of_several_measurements_of_the_same_the_newest_counts(make_run):
    scores = [score("pretrained encoder", 50.0), score("raw pixels", 30.0), score("pretrained encoder", 60.0)]
    scores.append(score("pretrained encoder", 70.0, data="other"))
    record = read_run(RunFolder(make_run("a", scores=scores)))
    assert [one.value for one in record.evaluations] == [60.0, 30.0, 70.0]


@pytest.mark.parametrize(("name", "text"), [("environment.json", "as JSON"), ("inputs.parquet", "as a scan")])
def test_a_damaged_file_is_refused_by_name(make_run, name, text):
    folder = make_run("a")
    (folder / name).write_bytes(b"{")
    with pytest.raises(FileRefusedError, match=rf"{name}: not readable {text}"):
        read_run(RunFolder(folder))


def test_a_file_of_evaluations_in_the_older_shapes_is_read(make_run):
    folder = make_run("a", scores=[score("raw pixels", 30.0)])
    old = {"features": "raw pixels", "probe": "linear", "accuracy": 40.0, "protocol": "p", "data": "d", "test": None}
    text = {"features": "pretrained encoder", "probe": "held-out text", "bits_per_byte": 1.5, "accuracy": 33.3}
    with (folder / "evaluations.jsonl").open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(line) + "\n" for line in (old, text, {"probe": "knn"}))
    found = read_run(RunFolder(folder)).evaluations
    assert [(one.probe, one.value, one.unit) for one in found] == [
        ("knn", 30.0, "%"), ("linear", 40.0, "%"), ("bits per byte", 1.5, "bits/byte"), ("token accuracy", 33.3, "%"),
    ]  # fmt: skip


def test_of_several_verdicts_on_the_same_data_the_newest_counts_and_stands_last(make_run):
    said = [("use", "First.", "a", None), ("free", "Other.", "b", "t"), ("free", "Second.", "a", None)]
    lines = [Verdict(kind, text).line(data, test, step=40) for kind, text, data, test in said]
    lines += [{"verdict": "use", "sentence": 7}, {"sentence": "Old.", "verdict": "use", "data": "c", "step": "x"}]
    verdicts = read_run(RunFolder(make_run("a", scores=[score("raw pixels", 30.0)], lines=lines))).verdicts
    assert verdicts == [
        Judged(Verdict("free", "Other."), "b", "t", 40),
        Judged(Verdict("free", "Second."), "a", "", 40),
        Judged(Verdict("use", "Old."), "c", "", None),
    ]
