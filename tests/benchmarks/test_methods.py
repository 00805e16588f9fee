"""Tests of the table of methods: its runs, the runs it skips, its records and its output."""

import importlib
import json

import pytest

from selfstudy.errors import EnvironmentFault, Interrupted, TrainingError
from selfstudy.methods.reads import Images
from tests.benchmarks.made_up import record


@pytest.fixture
def methods():
    return importlib.import_module("methods")


@pytest.fixture
def records():
    return importlib.import_module("records")


def test_a_run_is_recorded_with_its_scores_and_not_run_again(methods, data, tmp_path, capsys, monkeypatch):
    arguments = [
        "--cifar",
        str(data),
        "--out",
        str(tmp_path / "out"),
        "--only",
        "simclr",
        "--seeds",
        "3",
        "--steps",
        "2",
    ]
    methods.main(arguments)
    (file,) = (tmp_path / "out").iterdir()
    assert file.name == "cifar10-simclr-resnet10t-seed3.json"
    found = json.loads(file.read_text())
    assert found["steps"] == 2 and found["settings"]["train"]["seed"] == 3 and found["images_per_second"] > 0
    assert found["health"]["verdict"] in ("healthy", "watch", "collapsed") and found["train_seconds"] > 0
    names = {(score["features"], score["probe"]) for score in found["scores"]}
    assert names == {
        (features, probe)
        for features in ("raw pixels", "untrained encoder, statistics set", "pretrained encoder")
        for probe in ("knn", "knn-whitened", "linear")
    }
    assert all("8 test" in score["protocol"] for score in found["scores"])
    assert found["circumstances"]["hardware"]["processors"] >= 1
    monkeypatch.setattr(methods, "pretrain", lambda *_, **__: pytest.fail("ran again"))
    methods.main(arguments)
    assert "already recorded" in capsys.readouterr().out
    methods.main(["--out", str(tmp_path / "out"), "--table"])
    assert "| contrastive | simclr | resnet10t | 3 |" in capsys.readouterr().out


def test_a_failed_run_is_recorded_with_its_message_and_the_others_go_on(methods, data, tmp_path, monkeypatch):
    def diverge(source, config, run, **_):
        run.create()
        if config.method["name"] == "moco":
            raise ZeroDivisionError("by zero")
        run.append(run.metrics, [{"step": 7, "images_per_second": 10.0}])
        raise TrainingError("the loss became nan\nlower the learning rate")

    monkeypatch.setattr(methods, "pretrain", diverge)
    out = tmp_path / "out"
    options = ["--cifar", str(data), "--out", str(out), "--only", "simclr,moco", "--seeds", "0", "--steps", "2"]
    methods.main([*options, "--runs", str(tmp_path / "runs")])
    failed = json.loads((out / "cifar10-simclr-resnet10t-seed0.json").read_text())
    assert failed["failed"] == {"kind": "TrainingError", "message": "the loss became nan\nlower the learning rate"}
    assert failed["steps"] == 7
    bug = json.loads((out / "cifar10-moco-resnet10t-seed0.json").read_text())["failed"]
    assert bug["kind"] == "ZeroDivisionError" and "diverge" in bug["trace"]
    assert not list((tmp_path / "runs").iterdir())
    assert "failed: the loss became nan |" in methods.table([failed])


def test_a_fault_of_the_machine_stops_the_program_and_leaves_no_record(records, tmp_path):
    def measure(task, record):
        raise EnvironmentFault("disk full")

    with pytest.raises(EnvironmentFault):
        records.run_all([records.Task("a", {})], tmp_path, measure)
    assert not list(tmp_path.iterdir())


def test_a_stopped_program_continues_with_the_first_run_without_a_record(records, tmp_path):
    tasks = [records.Task(name, {"name": name}) for name in "abc"]
    seen = []

    def measure(task, record):
        seen.append(task.name)
        if task.name == "b" and len(seen) == 2:
            raise Interrupted("stopped by SIGTERM", 143)

    with pytest.raises(SystemExit) as stopped:
        records.run_all(tasks, tmp_path, measure)
    assert stopped.value.code == 143
    assert records.run_all(tasks, tmp_path, measure) == 0
    assert seen == ["a", "b", "b", "c"]
    assert [found["name"] for found in records.load(tmp_path)] == ["a", "b", "c"]


def test_a_kill_while_a_record_is_written_leaves_nothing_that_counts(records, tmp_path, monkeypatch):
    def killed(_):
        raise OSError("killed here")

    monkeypatch.setattr(records.os, "fsync", killed)
    with pytest.raises(OSError, match="killed here"):
        records.save(tmp_path / "a.json", {"half": True})
    assert not (tmp_path / "a.json").exists() and records.load(tmp_path) == []


def test_the_repeated_methods_have_every_seed_on_cifar_and_one_on_eurosat(methods):
    options = methods.parse(["--cifar", "c", "--eurosat", "e", "--out", "o", "--only", "dino,simclr", "--seeds", "0,1"])
    assert [task.name for task in methods.tasks(options)] == [
        "cifar10-dino-resnet10t-seed0",
        "cifar10-simclr-resnet10t-seed0",
        "eurosat-dino-resnet10t-seed0",
        "eurosat-simclr-resnet10t-seed0",
        "cifar10-dino-resnet10t-seed1",
        "cifar10-simclr-resnet10t-seed1",
    ]


def test_a_method_outside_the_repeated_ones_has_one_run(methods, monkeypatch):
    monkeypatch.setattr(methods, "REPEATED", ("simclr",))
    options = methods.parse(["--cifar", "c", "--eurosat", "e", "--out", "o", "--only", "dino", "--seeds", "5,6"])
    assert [task.name for task in methods.tasks(options)] == ["cifar10-dino-resnet10t-seed5"]


def test_a_method_that_needs_tokens_gets_the_vision_transformer(methods):
    class OnPatches:
        reads = Images(tokens=True)

    assert methods.encoder_for(OnPatches) == methods.TOKENS


def test_the_table_has_mean_and_sample_sd_over_seeds_by_hand(methods):
    text = methods.table([record(seed=seed, knn=knn) for seed, knn in ((0, 49.0), (1, 50.0), (2, 51.0))])
    row = next(line for line in text.splitlines() if "simclr" in line)
    assert row == (
        "| contrastive | simclr | resnet10t | 0, 1, 2 | 50.0 ± 1.0 | 55.0 ± 1.0 | 40.0 ± 1.0 | 45.0 ± 1.0 "
        "| bf16 | 301 | 1,500 | healthy ×3 |"
    ).replace("healthy ×3", "healthy")
    assert "### CIFAR-10, 3 minutes of training each" in text
    assert "2 cores of AMD EPYC, torch 2.14.1, commit 0123456789ab, 2026-11-24" in text
    assert text.count("knn as usual") == 1


def test_rows_are_sorted_by_family_below_the_row_of_raw_pixels(methods):
    found = [
        record("mae", family="masked prediction"),
        record("moco"),
        record("supcon", uses_labels=True),
        record("byol", family="positives only"),
    ]
    rows = [line.split(" | ")[1] for line in methods.table(found).splitlines() if line.startswith("| ")]
    assert rows[2:] == ["raw pixels", "moco", "supcon · learns from labels", "byol", "mae"]


def test_different_budgets_are_never_averaged(methods):
    text = methods.table([record(), record(seed=1, duration="1 minutes")])
    assert "simclr · 3 minutes" in text and "simclr · 1 minutes" in text and "each" not in text


def test_failed_seeds_are_noted_after_the_mean_of_the_others(methods):
    lost = record(seed=1, failed={"kind": "TrainingError", "message": "diverged\nmore"})
    del lost["scores"]
    assert "| 50.0; 1 of 2 failed: diverged |" in methods.table([record(), lost])


def test_an_unknown_method_is_refused_before_anything_is_run(methods, capsys):
    with pytest.raises(SystemExit):
        methods.parse(["--cifar", "c", "--out", "o", "--only", "simcrl"])
    assert "unknown method simcrl" in capsys.readouterr().err
