"""The columns of tables of text: usual names, and a guess where no column has one."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

TEXT_COLUMNS = ("text", "content", "sentence", "review", "body", "document")
LABEL_COLUMNS = ("label", "class", "category", "target", "sentiment")


def column_names(rows: Iterable[Mapping[str, object]]) -> list[str]:
    """The columns of all rows, in order of appearance."""
    return list(dict.fromkeys(name for row in rows for name in row))


def known_column(columns: Iterable[str], known: Sequence[str]) -> str | None:
    """The first name in ``known`` that is a column in any case, as the table spells it; None without one."""
    folded = {name.casefold(): name for name in columns}
    return next((folded[name] for name in known if name in folded), None)


def text_column(rows: Sequence[Mapping[str, object]]) -> str | None:
    """The column of the text: one with a usual name, else the one with the most characters; None without text."""
    lengths: Counter[str] = Counter()
    for row in rows:
        lengths.update({name: len(value) for name, value in row.items() if isinstance(value, str)})
    return known_column(lengths, TEXT_COLUMNS) or max(lengths, key=lambda name: lengths[name], default=None)
