import json

import pytest

from selfstudy.probes.results import Ahead, Results, Score
from selfstudy.probes.verdict import Reading, Split
from selfstudy.runs.facts import facts_of, judged, steps_of
from selfstudy.runs.folder import RunFolder

RESULTS = Results([Score("pretrained encoder", "knn", 50.0, "p")])


def run(path, *, method="simclr"):
    folder = RunFolder(path)
    folder.config.write_text(f"method:\n  name: {method}\n", encoding="utf-8")
    folder.environment.write_text(json.dumps({"data_fingerprint": "f00"}), encoding="utf-8")
    return folder


def test_health_and_steps_are_those_of_the_last_lines(tmp_path):
    folder = run(tmp_path)
    folder.append(folder.health, [{"step": 1, "verdict": "watch"}, {"step": 2, "verdict": "healthy"}])
    folder.append(folder.metrics, [{"step": 1}, {"step": 2}])
    found = facts_of(folder, RESULTS, Split(repeated=3))
    assert (found.scores, found.split.repeated, found.health, found.steps) == (RESULTS.scores, 3, "healthy", 2)
    assert not found.seen and not found.solved and found.readings == [] and found.bar is None


def test_a_folder_without_logs_gives_facts_too(tmp_path):
    (tmp_path / "config.yaml").write_text("method: {name: my_package.my_method}\n", encoding="utf-8")
    found = facts_of(RunFolder(tmp_path), RESULTS, Split())
    assert (found.health, found.steps, found.seen, found.solved) == ("", None, False, False)
    assert steps_of(RunFolder(tmp_path)) is None


@pytest.mark.parametrize(
    ("method", "fingerprint", "seen"), [("supcon", "f00", True), ("supcon", "bad", False), ("simclr", "f00", False)]
)
def test_labels_of_the_test_were_seen_by_a_method_with_labels_on_the_same_data(tmp_path, method, fingerprint, seen):
    assert facts_of(run(tmp_path, method=method), RESULTS, Split(fingerprint=fingerprint)).seen is seen


def test_a_method_without_gradients_is_known_to_be_solved(tmp_path):
    assert facts_of(run(tmp_path, method="patches"), RESULTS, Split()).solved


def test_readings_are_those_of_one_probe_with_its_best_free_row(tmp_path):
    folder = run(tmp_path)
    free = {"step": None, "row": "patches", "free": True}
    folder.append(
        folder.readings, [{**free, "probe": "knn", "value": 60.0}, {**free, "probe": "knn-whitened", "value": 70.0}]
    )
    for step, value in ((0, 20.0), (5, 40.0)):
        lines = [{"step": step, "seconds": 2.0 * step, "probe": probe} for probe in ("knn", "knn-whitened")]
        folder.append(folder.readings, [lines[0] | {"value": None}, lines[1] | {"value": value}])
    found = facts_of(folder, RESULTS, Split())
    assert found.readings == [Reading(0.0, 20.0), Reading(10.0, 40.0)] and found.bar == 70.0


def test_scores_and_verdict_are_added_to_the_evaluations(tmp_path):
    folder = run(tmp_path)
    assert judged(folder, RESULTS, Split()).verdict is None
    free = Score("raw pixels", "knn", 60.0, "p", free=True)
    own = Score("pretrained encoder", "knn", 50.0, "p", ahead=Ahead(-10.0, -12.0, -8.0, "raw pixels"))
    found = judged(folder, Results([free, own]).on("d", "t", step=7), Split())
    sentence = "Not better than raw pixels: use raw pixels (50.0 against 60.0, k-NN)."
    assert found.verdict == sentence and len(found) == 2
    lines = folder.lines(folder.evaluations)
    assert [line.get("value") for line in lines] == [50.0, 60.0, 50.0, None]
    assert lines[-1] == {"verdict": "free", "sentence": sentence, "data": "d", "test": "t", "step": 7}
