"""Tests that the text of the repository is plain English, and that the program that checks it finds each fault."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
_spec = importlib.util.spec_from_file_location("plain_english", ROOT / "scripts" / "plain_english.py")
assert _spec is not None and _spec.loader is not None
plain_english = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(plain_english)


def test_the_text_is_plain_english():
    found = {}
    for file in plain_english.files([ROOT / name for name in plain_english.PLACES]):
        if faults := plain_english.findings(file):
            found[file.relative_to(ROOT).as_posix()] = faults
    assert not found


@pytest.mark.parametrize(
    ("text", "phrase"),
    [
        ("every token is foretold", "foretold"),
        ("a probe that there is not", "that there is not"),
        ("the untrained encoder beside it", "beside"),
        ("# see\n# there", "see # there"),
        ("def test_images_are_treated_alike", "alike"),
        ("small (nor a stride)", "nor"),
        ("all but the first", "all but"),
        ("the first so many images", "so many"),
        ("the minutes are to be equal", "are to be"),
        ("the reason is said", "is said"),
    ],
)
def test_a_phrase_is_found_in_any_text(tmp_path, text, phrase):
    file = tmp_path / "page.md"
    file.write_text(f"one line\n{text}\n")
    (found,) = [finding for finding in plain_english.findings(file) if finding.phrase == phrase]
    assert found.line == 2


@pytest.mark.parametrize(
    ("text", "phrase"),
    [
        ('"""Whether it exists."""', "Whether"),
        ('def f():\n    """What a child does."""', "What"),
        ('def f(x):\n    """Weigh.\n\n    Args:\n        weight: of the second term.\n    """', "weight: of"),
        ('x = Field(1.0, description="of the second term")', 'description="of'),
    ],
)
def test_a_fault_of_a_docstring_or_a_description_is_found(tmp_path, text, phrase):
    file = tmp_path / "code.py"
    file.write_text(text + "\n")
    assert [finding.phrase for finding in plain_english.findings(file)] == [phrase]


def test_plain_text_has_no_findings(tmp_path):
    file = tmp_path / "code.py"
    file.write_text(
        '"""Return True if it is neither a file nor a folder.\n\n    Args:\n        weight: the weight.\n"""\n'
    )
    assert plain_english.findings(file) == []


def test_the_program_counts_the_findings_per_file_and_exits_with_1(tmp_path, capsys):
    (tmp_path / "a.md").write_text("likewise\nlikewise\n")
    (tmp_path / "b.md").write_text("plain\n")
    assert plain_english.main([str(tmp_path)]) == 1
    assert f"    2 {tmp_path / 'a.md'}\n    2 in 1 files\n" in capsys.readouterr().out
    assert plain_english.main([str(tmp_path / "b.md")]) == 0
