"""The mutation run: its mutants, and its verdict on a small made-up tree."""

import importlib
import json
import subprocess
import sys

import pytest

from tests.benchmarks.conftest import BENCHMARKS

SOURCE = """
from dataclasses import dataclass

LIMIT: int = 3


@dataclass(frozen=True)
class Scale:
    def larger(self, a, b):
        if not a < b <= 9:
            print("größer", end="", highlight=False)
            return a or b
        for _ in zip(a, b, strict=True):
            self.seen += 1
            continue
        raise ValueError(f"{1 + 1}")
"""
GUARDED = """
def is_adult(years):
    return not years < 18
"""
LONELY = """
def answer():
    return 42
"""
TEST = """
from tiny.runs.ages import is_adult

def test_adults():
    assert is_adult(ADULT) and not is_adult(17)
"""


@pytest.fixture
def program():
    return importlib.import_module("mutants")


@pytest.fixture
def tree(tmp_path):
    """A package of two files: one with a test that misses the boundary, one without a test."""
    for path, text in {
        "src/tiny/__init__.py": "",
        "src/tiny/runs/__init__.py": "",
        "src/tiny/runs/ages.py": GUARDED,
        "src/tiny/lonely.py": LONELY,
        "tests/runs/test_ages.py": TEST.replace("ADULT", "19"),
    }.items():
        (tmp_path / "tree" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tree" / path).write_text(text, encoding="utf-8")
    return tmp_path / "tree"


def run(tree, *options):
    command = [sys.executable, str(BENCHMARKS / "mutants.py"), "--root", str(tree), "--preload", "pytest", *options]
    return subprocess.run(command, capture_output=True, text=True)


def test_every_comparison_number_boolean_and_statement_gives_a_mutant_but_annotations_and_decorators(program):
    found = program.mutants_of("scale.py", SOURCE)
    assert [(m.place, m.line, m.before, m.after) for m in found] == [
        ("", 4, "3", "4"),
        ("Scale.larger", 10, "not a < b <= 9", "a < b <= 9"),
        ("Scale.larger", 10, "a < b <= 9", "a <= b <= 9"),
        ("Scale.larger", 10, "a < b <= 9", "a < b < 9"),
        ("Scale.larger", 10, "9", "10"),
        ("Scale.larger", 11, 'print("größer", end="", highlight=False)', "pass"),
        ("Scale.larger", 12, "a or b", "a and b"),
        ("Scale.larger", 14, "self.seen += 1", "pass"),
        ("Scale.larger", 14, "1", "2"),
        ("Scale.larger", 15, "continue", "pass"),
        ("Scale.larger", 16, 'raise ValueError(f"{1 + 1}")', "pass"),
    ]


def test_a_mutant_changes_its_place_and_nothing_else(program):
    texts = {m.key: program.mutated(SOURCE, m) for m in program.mutants_of("scale.py", SOURCE)}
    assert texts["scale.py:Scale.larger: a or b -> a and b"] == SOURCE.replace("a or b", "(a and b)")
    assert texts["scale.py:Scale.larger: continue -> pass"] == SOURCE.replace("continue", "pass")
    for text in texts.values():
        compile(text, "scale.py", "exec")


def test_equal_changes_in_one_place_have_keys_of_their_own(program):
    keys = [m.key for m in program.mutants_of("a.py", "def f(x):\n    return x + 1, x - 1\n")]
    assert keys == ["a.py:f: 1 -> 2", "a.py:f: 1 -> 2 #2"]


def test_a_draw_depends_on_the_seed_and_not_on_edits_elsewhere(program, tree):
    (tree / "src" / "tiny" / "scale.py").write_text(SOURCE, encoding="utf-8")

    def drawn(seed, count=3):
        return program.draw(tree / "src" / "tiny", count=count, seed=seed, only=[], skip=["lonely.py"])

    before = drawn(0)
    assert len(before) == 3 and drawn(0) == before and drawn(1) != before
    everything = {m.key for m in drawn(0, 100)}
    assert len(everything) == 14 and not any("lonely" in key for key in everything)
    (tree / "src" / "tiny" / "scale.py").write_text("# moved down\n" + SOURCE, encoding="utf-8")
    assert [m.key for m in drawn(0)] == [m.key for m in before]


def test_a_run_prints_the_survivors_and_keeps_what_it_knows(tree, tmp_path):
    out = tmp_path / "out.json"
    first = run(tree, "--out", str(out), "--at-least", "0.5")
    assert first.stdout.splitlines()[-4:] == [
        "no test  src/tiny/lonely.py:3  lonely.py:answer: 42 -> 43",
        "survived src/tiny/runs/ages.py:3  runs/ages.py:is_adult: years < 18 -> years <= 18",
        "survived src/tiny/runs/ages.py:3  runs/ages.py:is_adult: 18 -> 19",
        "25% of 4 mutants caught; 0 more are listed as equivalent",
    ], first.stderr
    assert first.returncode == 1
    assert (tree / "src/tiny/runs/ages.py").read_text(encoding="utf-8") == GUARDED
    outcomes = {key: entry["outcome"] for key, entry in json.loads(out.read_text(encoding="utf-8")).items()}
    assert outcomes["runs/ages.py:is_adult: not years < 18 -> years < 18"] == "caught"
    (tree / "tests/runs/test_ages.py").write_text(TEST.replace("ADULT", "18"), encoding="utf-8")
    (tree / "same.txt").write_text("lonely.py:answer: 42 -> 43  # any number will do\n", encoding="utf-8")
    second = run(tree, "--out", str(out), "--equivalent", str(tree / "same.txt"), "--at-least", "0.5")
    assert second.stdout.splitlines() == [
        *(f"   {number}/3 caught   runs/ages.py:3" for number in (1, 2, 3)),
        "100% of 3 mutants caught; 1 more are listed as equivalent",
    ], second.stderr
    assert second.returncode == 0
    third = run(tree, "--out", str(out), "--equivalent", str(tree / "same.txt"))
    assert third.stdout == "100% of 3 mutants caught; 1 more are listed as equivalent\n"  # nothing is run again


def test_a_test_that_fails_without_a_mutant_ends_the_run(tree):
    (tree / "tests/runs/test_ages.py").write_text(TEST.replace("ADULT", "1"), encoding="utf-8")
    failed = run(tree, "--only", "runs")
    assert failed.returncode == 1 and failed.stderr.startswith(
        "tests/runs/test_ages.py fails on the unchanged source:\n"
    )
    assert "1 failed" in failed.stderr


def test_an_equivalent_mutant_without_a_reason_is_refused(program, tmp_path):
    file = tmp_path / "list.txt"
    file.write_text("# a comment\na.py:f: 1 -> 2  # says why\n", encoding="utf-8")
    assert program.equivalents(file) == {"a.py:f: 1 -> 2": "says why"}
    file.write_text("a.py:f: 1 -> 2\n", encoding="utf-8")
    with pytest.raises(SystemExit, match="has no reason\nwrite 'KEY  # REASON', with two spaces before the #"):
        program.equivalents(file)


def test_a_mutant_that_never_ends_runs_out_of_time(program, tree, tmp_path):
    (tree / "tests/runs/test_ages.py").write_text("while True:\n    pass\n", encoding="utf-8")
    assert program.Tests(tree, tmp_path / "log").run("tests/runs/test_ages.py", limit=0.3) == "timeout"
