"""The records that a run writes at its beginning."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

import selfstudy
from selfstudy.runs.folder import RunFolder

QUICK = {"encoder": "resnet10t", "steps": 1, "batch_size": 2, "image_size": 16, "device": "cpu", "precision": "fp32"}
IMAGES = np.random.default_rng(0).integers(0, 256, (8, 16, 16), dtype=np.uint8)


def _git(folder, *words):
    who = {f"GIT_{role}_{what}": "a@b.c" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    done = subprocess.run(["git", *words], cwd=folder, env=os.environ | who, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def environment(tmp_path, monkeypatch):
    """The environment.json of a run that was started in a folder."""

    def written(start):
        monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
        monkeypatch.chdir(start)
        run = selfstudy.pretrain(IMAGES, out=tmp_path / "run", overwrite=True, seed=5, **QUICK)
        return json.loads((run.folder / "environment.json").read_text())

    return written


def test_the_git_commit_of_the_working_directory_is_recorded(tmp_path, environment):
    (tmp_path / "checkout" / "inner").mkdir(parents=True)
    _git(tmp_path / "checkout", "init", "-q")
    _git(tmp_path / "checkout", "commit", "-q", "--allow-empty", "-m", "first")
    found = environment(tmp_path / "checkout" / "inner")
    assert found["git_commit"] == _git(tmp_path / "checkout", "rev-parse", "HEAD")
    assert len(found["git_commit"]) == 40


def test_outside_of_a_checkout_there_is_no_commit_and_all_else_is_recorded(tmp_path, environment):
    found = environment(tmp_path)
    assert found["git_commit"] is None
    assert (found["seed"], found["inputs"], found["command"]) == (5, 8, sys.argv)
    assert found["versions"]["selfstudy"] == selfstudy.__version__
    assert len(found["data_fingerprint"]) == 64


def test_the_environment_is_never_seen_half_written(tmp_path, monkeypatch):
    whole = []

    def replace(self, file, text):
        whole.append(file.name)
        write(self, file, text)

    write = RunFolder.replace
    monkeypatch.setattr(RunFolder, "replace", replace)
    selfstudy.pretrain(IMAGES, out=tmp_path / "run", **QUICK)
    assert whole == ["environment.json", "reasons.json", "config.yaml"]
