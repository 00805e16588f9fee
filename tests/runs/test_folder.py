import json

import pytest

from selfstudy.errors import RunFolderError, UsageError
from selfstudy.runs.folder import RunFolder


def test_a_used_folder_is_refused_with_the_three_ways_out(tmp_path):
    (tmp_path / "config.yaml").write_text("")
    with pytest.raises(RunFolderError, match="--resume continues that run, --overwrite moves it aside, --out"):
        RunFolder(tmp_path).refuse_if_used()


def test_an_empty_folder_or_one_with_only_a_lock_is_free(tmp_path):
    (tmp_path / ".lock").write_text("")
    RunFolder(tmp_path).refuse_if_used()
    RunFolder(tmp_path / "none").refuse_if_used()


def test_moving_aside_loses_nothing_even_twice_in_a_second(tmp_path):
    folder = RunFolder(tmp_path / "run")
    kept = []
    for content in ("first", "second"):
        folder.create()
        folder.config.write_text(content)
        kept.append(folder.move_aside())
    assert [(path / "config.yaml").read_text() for path in kept] == ["first", "second"]


def test_a_folder_that_is_no_run_is_named(tmp_path):
    with pytest.raises(UsageError, match="is not a run folder"):
        RunFolder.existing(tmp_path)


def test_lines_after_the_checkpoint_and_torn_ones_are_dropped_on_resume(tmp_path):
    folder = RunFolder(tmp_path)
    folder.append(folder.metrics, [{"step": 1}, {"step": 2}, {"step": 3}])
    with folder.metrics.open("a") as file:
        file.write('{"step": 2, "lo')
    folder.truncate_logs(2)
    assert [json.loads(line)["step"] for line in folder.metrics.read_text().splitlines()] == [1, 2]


def test_readings_are_cut_as_well_and_what_was_measured_once_for_all_steps_stays(tmp_path):
    folder = RunFolder(tmp_path)
    folder.append(folder.readings, [{"step": None}, {"step": 0}, {"step": 2}, {"step": 3}])
    folder.truncate_logs(2)
    assert [json.loads(line)["step"] for line in folder.readings.read_text().splitlines()] == [None, 0, 2]
