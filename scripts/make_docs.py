"""Writes the pages of docs/ that are made from the code: ``python scripts/make_docs.py``."""

from pathlib import Path

from selfstudy.modalities import SETTINGS
from selfstudy.runs.settings import Row, rows_of

DOCS = Path(__file__).parent.parent / "docs"
_BEGINNING = """\
# Settings

This page is made by `python scripts/make_docs.py` from the settings models. Edit those, and run it again.

A setting is given by its short option (`--batch-size 256`), by its keyword (`selfstudy.pretrain(..., batch_size=256)`),
by its dotted name (`--set train.accumulate=2`, `set={"train.accumulate": 2}`), or in a YAML file (`--config run.yaml`).
Each `auto` is decided before training; `selfstudy recipe DATA` prints the decisions with their reasons.

A setting marked *same result* may change on `--resume`, and `selfstudy compare` ignores it. The place of the data is
one of them: a run keeps a fingerprint of its data and refuses others. `train.duration` may become longer on `--resume`.

A method has settings of its own, such as `method.temperature`: the `Config` in its file, `selfstudy/methods/NAME.py`.
"""


def settings_page() -> str:
    """The text of docs/settings.md: a table for all runs, and one for each modality."""
    rows = {modality: rows_of(model) for modality, model in SETTINGS.items()}
    first, *others = rows.values()
    shared = [row for row in first if all(row in other for other in others)]
    parts = {"Every run": shared}
    parts |= {f"Modality {name}": [row for row in own if row not in shared] for name, own in rows.items()}
    return _BEGINNING + "".join(f"\n## {title}\n\n{_table(part)}" for title, part in parts.items())


def _table(rows: list[Row]) -> str:
    """A Markdown table with a line for each setting."""
    lines = ["| setting | options | values | default | meaning |", "|---|---|---|---|---|"]
    return "\n".join([*lines, *map(_line, rows)]) + "\n"


def _line(row: Row) -> str:
    """The line of one setting."""
    options = ", ".join(f"`--{keyword.name.replace('_', '-')}`" for keyword in row.keywords)
    values = ", ".join(f"`{value}`" for value in row.values)
    default = "" if row.default is None else f"`{row.default}`"
    meaning = row.description + ("" if row.changes_result else " *Same result.*")
    return f"| `{row.key}` | {options} | {values} | {default} | {meaning} |"


if __name__ == "__main__":
    (DOCS / "settings.md").write_text(settings_page(), encoding="utf-8")
