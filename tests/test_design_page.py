"""The table of rooms on the design page is the one that the code makes."""

import importlib
import re

import pytest

from tests.test_rooms import FLOORS, SOURCE

PAGE = SOURCE.parents[1] / "docs" / "design.md"


@pytest.fixture
def program(monkeypatch):
    monkeypatch.syspath_prepend(SOURCE.parents[1] / "scripts")
    return importlib.import_module("rooms_table")


def test_the_page_shows_the_rooms_as_they_are(program):
    page = program.PAGE.read_text(encoding="utf-8")
    assert program.section(page) == program.table(), "run: python scripts/rooms_table.py --write"


def test_every_room_has_a_row_with_its_floor_and_what_it_holds(program):
    rows = [line.strip("| ").split(" | ") for line in program.table().splitlines()[2:]]
    assert [row[0] for row in rows] == [str(len(FLOORS) - n) for n, floor in enumerate(FLOORS) for _ in floor]
    assert {row[1].strip("`") for row in rows} == set().union(*FLOORS)
    assert all(len(row) == 4 and row[2] and row[3] for row in rows)


def test_the_table_lists_imports_at_any_depth_of_a_file(program, tmp_path, monkeypatch):
    (tmp_path / "attic").mkdir()
    (tmp_path / "attic" / "__init__.py").write_text('"""Old things, see :mod:`here`.\n\nAnd more."""\n')
    (tmp_path / "attic" / "box.py").write_text(
        "import selfstudy.ops.random\nfrom selfstudy import config as cfg\nfrom selfstudy.attic import other\n"
        "import torch\n\ndef open():\n    from selfstudy.nn.ema import EMA\n"
    )
    monkeypatch.setattr(program, "SOURCE", tmp_path)
    assert program.imports("attic", {"attic", "ops", "config", "nn", "views"}) == {"ops", "config", "nn"}
    assert program.about("attic") == "Old things, see `here`"


def test_writing_changes_what_is_between_the_markers_alone(program, tmp_path, monkeypatch):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- rooms -->\nold\n<!-- /rooms -->\nafter\n")
    monkeypatch.setattr(program, "PAGE", page)
    monkeypatch.setattr("sys.argv", ["rooms_table.py", "--write"])
    program.main()
    assert page.read_text() == f"before\n<!-- rooms -->\n{program.table()}<!-- /rooms -->\nafter\n"


def _walks():
    """The numbered lists of the section, as (title, lines)."""
    section = PAGE.read_text(encoding="utf-8").split("## Three walks through the code\n")[1].split("\n## ")[0]
    parts = section.split("\n**")[1:]
    return {part.partition("**")[0]: part.partition("**")[2] for part in parts}


@pytest.mark.parametrize("title", list(_walks()))
def test_a_walk_is_short_and_enters_each_file_once(title):
    walk = _walks()[title]
    files = re.findall(r"`([\w/]+\.py)`", walk)
    assert len([line for line in walk.strip().splitlines()[1:] if line.strip()]) <= 12
    assert len(files) == len(set(files)) and all((SOURCE / file).is_file() for file in files)


def test_there_are_three_walks():
    assert len(_walks()) == 3
