"""The pages that are made from the code are as the code is now."""

import runpy
from pathlib import Path

ROOT = Path(__file__).parents[2]
MADE = runpy.run_path(str(ROOT / "scripts" / "make_docs.py"))


def test_the_page_of_settings_is_up_to_date():
    page = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    assert page == MADE["settings_page"](), "run: python scripts/make_docs.py"


def test_a_line_of_the_page_says_what_the_field_says():
    lines = MADE["settings_page"]().splitlines()
    line = next(line for line in lines if line.startswith("| `train.workers` |"))
    assert "`--workers` | `auto`, `int` | `auto` | " in line and line.endswith(" *Same result.* |")
    assert next(line for line in lines if line.startswith("| `train.seed` |")).endswith("of the run. |")
