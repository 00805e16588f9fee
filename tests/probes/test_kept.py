"""Scores of free rows that are kept for later evaluations."""

import os

import pytest

from selfstudy.probes import Probe, kept, named
from selfstudy.probes.kept import KeptScores
from selfstudy.probes.results import Score

KNN, LINEAR = named(["knn", "linear"])
SCORES = [Score("raw pixels", "knn", 50.5, "k-NN", 0.5, interval=(48.0, 53.0), right=b"\x00\x01\xff")]


def test_scores_are_found_by_their_key_and_probe_as_they_were(tmp_path):
    scores = KeptScores(tmp_path / "new" / "scores")
    assert scores.find("digits", [KNN]) == {}
    scores.keep("digits", KNN, SCORES)
    assert KeptScores(tmp_path / "new" / "scores").find("digits", [LINEAR, KNN]) == {"knn": SCORES}
    assert scores.find("faces", [KNN]) == {} and os.listdir(tmp_path / "new") == ["scores"]


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[[]]", b'[["a", "knn", NaN, "p"]]', b'[["a", "knn", "1", "p", 1, 2]]']
)
def test_a_damaged_file_counts_as_none_and_is_replaced(tmp_path, content):
    scores = KeptScores(tmp_path)
    scores.keep("digits", KNN, SCORES)
    (file,) = tmp_path.iterdir()
    file.write_bytes(content)
    assert scores.find("digits", [KNN]) == {}
    scores.keep("digits", KNN, SCORES)
    assert scores.find("digits", [KNN]) == {"knn": SCORES}


def test_other_code_or_other_libraries_find_nothing(tmp_path, monkeypatch):
    scores = KeptScores(tmp_path)
    scores.keep("digits", KNN, SCORES)
    monkeypatch.setattr(kept, "version", lambda name: "0")
    kept._code.cache_clear()
    assert scores.find("digits", [KNN]) == {}
    monkeypatch.undo()
    kept._code.cache_clear()
    assert scores.find("digits", [KNN]) == {"knn": SCORES}
    (tmp_path / "one.py").write_text("x = 1")
    monkeypatch.setattr(kept, "_PACKAGE", tmp_path)
    kept._code.cache_clear()
    assert kept._code() != (kept._code.cache_clear(), (tmp_path / "one.py").write_text("x = 2"), kept._code())[2]
    kept._code.cache_clear()


def test_the_files_that_were_used_last_stay(tmp_path):
    scores = KeptScores(tmp_path, most=2)
    for age, key in enumerate(["old", "middle"]):
        scores.keep(key, KNN, SCORES)
        os.utime(scores._file(key, KNN), (age, age))
    assert scores.find("old", [KNN])  # now the newest
    scores.keep("new", KNN, SCORES)
    assert [bool(scores.find(key, [KNN])) for key in ("old", "middle", "new")] == [True, False, True]


def test_scores_too_large_for_a_file_and_probes_of_other_packages_are_not_kept(tmp_path, monkeypatch):
    scores, other = KeptScores(tmp_path), Probe("knn", lambda features: SCORES, int)
    scores.keep("digits", other, SCORES)
    monkeypatch.setattr(kept, "_MOST_BYTES", 20)
    scores.keep("digits", KNN, SCORES)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    scores.keep("digits", KNN, SCORES)
    assert scores.find("digits", [other]) == {}
