"""Texts with labels or with similarity scores, for evaluation; they fit into memory, and damaged ones are refused.

A training corpus does without documents that cannot be read. Here every row is part of what a number means: the first
rows that cannot be used are named, and nothing is returned.
"""

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from selfstudy.data.names import TEST_NAMES, TRAIN_NAMES, part_named
from selfstudy.errors import DataError, UsageError, did_you_mean
from selfstudy.text.columns import LABEL_COLUMNS, column_names, known_column
from selfstudy.text.columns import text_column as find_text_column
from selfstudy.text.documents import Problem, find_files, implies_header, is_valid_text, single_file
from selfstudy.text.files import Record, TextFile, read_plain, read_records, with_plain_newlines

_FIRST, _SECOND, _SCORES = ("sentence1",), ("sentence2",), ("score", "label")
_SHOWN = 3


class LabelledTexts(NamedTuple):
    """Texts and their classes.

    Attributes:
        texts: N texts.
        labels: (N,) int64 positions in ``classes``.
        classes: the sorted names of the classes that occur; two files number classes in the same way only if they hold
            the same classes.
    """

    texts: list[str]
    labels: np.ndarray
    classes: list[str]


class Pairs(NamedTuple):
    """Pairs of sentences with scores of their similarity.

    Attributes:
        first: the first sentences, N of them.
        second: the second sentences, N of them.
        scores: (N,) float64, larger for more similar sentences, on the scale of the file.
    """

    first: list[str]
    second: list[str]
    scores: np.ndarray


def read_labelled_texts(
    path: str | Path, *, text_column: str = "auto", label_column: str = "auto"
) -> tuple[LabelledTexts, LabelledTexts | None]:
    """Texts and labels, and those of the test part where the data have one.

    A folder has a sub-folder of ``.txt`` files for each class, or folders ``train`` and ``test`` of such sub-folders; a
    table has one part.

    Args:
        path: a folder, or a ``.tsv`` (without quoting), ``.csv``, ``.jsonl`` or ``.parquet`` file.
        text_column: a column, or ``auto`` as for :func:`selfstudy.text.documents.open_documents`.
        label_column: a column, or ``auto`` for ``label``, ``class``, ``category``, ``target`` or ``sentiment``; without
            a header, the column with the fewest distinct values, which have to be fewer than half of the rows.

    Raises:
        UsageError: no path, a missing file, plain text, or a column that is missing or cannot be found.
        DataError: something that cannot be read, an empty text, or fewer than two classes in a part.
    """
    path = _as_path(path)
    if path.is_dir():
        if (text_column, label_column) != ("auto", "auto"):
            raise UsageError(f"{path} is a folder, which has no columns\nleave the label and the text column out")
        return _from_folder(path)
    rows = _rows(path, implies_header(text_column, label_column))
    columns = column_names(record.value for record in rows)
    label = _label_column(rows, columns, path) if label_column == "auto" else label_column
    _require(label, columns, path)
    others = [{name: value for name, value in record.value.items() if name != label} for record in rows]
    text = find_text_column(others) if text_column == "auto" else text_column
    if text is None:
        raise UsageError(f"{path} has no column of text but {label!r}\nit has: {', '.join(columns)}")
    _require(text, columns, path)
    texts = _texts(rows, text, path)
    return _numbered(texts, [_class_name(record, label, path) for record in rows], f"file {path}"), None


def read_pairs(path: str | Path) -> Pairs:
    """Scored pairs of sentences from a table.

    Args:
        path: a ``.tsv`` (without quoting), ``.csv``, ``.jsonl`` or ``.parquet`` file with columns ``sentence1``,
            ``sentence2`` and ``score`` (or ``label``); without a header, of three columns, one of them numbers.

    Raises:
        UsageError: no path, a missing file, plain text, or columns that cannot be found.
        DataError: something that cannot be read, an empty sentence, or a score that is no finite number.
    """
    path = _as_path(path)
    rows = _rows(path, header=False)
    columns = column_names(record.value for record in rows)
    first, second, score = _pair_columns(rows, columns, path)
    numbers = [_number(record.value.get(score)) for record in rows]
    wrong = next((record for record, number in zip(rows, numbers, strict=True) if number is None), None)
    if wrong is not None:
        raise DataError(f"{_place(wrong, path)}: the score {wrong.value.get(score)!r} is not a finite number")
    scores = np.array(numbers, dtype=np.float64)
    return Pairs(_texts(rows, first, path), _texts(rows, second, path), scores)


def _as_path(given: object) -> Path:
    """The given path; a UsageError for anything else."""
    if not isinstance(given, str | os.PathLike):
        raise UsageError(
            f"cannot read labelled texts from {type(given).__name__}\n"
            "allowed: the path of a .tsv, .csv, .jsonl or .parquet file, or of a folder with a sub-folder per class"
        )
    return Path(given)


def _rows(path: Path, header: bool) -> list[Record]:
    """Every row of a table."""
    file = single_file(path)
    if file.kind == "plain":
        raise UsageError(f"{path} is plain text, which has no columns\nread are .tsv .csv .jsonl .parquet")
    problems: list[tuple[int, str]] = []
    rows = list(read_records(file, lambda offset, reason: problems.append((offset, reason)), header=header))
    problems += [(row.offset, "a string without a label") for row in rows if not isinstance(row.value, dict)]
    if problems:
        _refuse([f"byte {offset}: {reason}" for offset, reason in problems], f"{path}")
    if not rows:
        raise DataError(f"{path} has no rows")
    return rows


def _refuse(reasons: Sequence[str], what: str) -> None:
    """Raise with the first few reasons."""
    shown = "\n".join(f"  {reason}" for reason in reasons[:_SHOWN])
    more = f"\n  … and {len(reasons) - _SHOWN} more" if len(reasons) > _SHOWN else ""
    raise DataError(f"{what} cannot be used to evaluate:\n{shown}{more}")


def _place(record: Record, path: Path) -> str:
    """The file and the row, for messages."""
    return f"{path}, row {record.number} (from 0)"


def _require(column: str, columns: list[str], path: Path) -> None:
    """Raise a UsageError unless a table has a column."""
    if column not in columns:
        raise UsageError(
            f"{path} has no column {column!r}{did_you_mean(column, columns)}\nit has: {', '.join(columns)}"
        )


def _without_header(columns: list[str]) -> bool:
    """True if the columns of a table have numbers for names."""
    return columns == [str(number) for number in range(len(columns))]


def _label_column(rows: list[Record], columns: list[str], path: Path) -> str:
    """The column of the labels, by its name, or by its few distinct values where columns have no names."""
    named = known_column(columns, LABEL_COLUMNS)
    if named is not None:
        return named
    if _without_header(columns):
        distinct = {name: len({record.value.get(name) for record in rows}) for name in columns}
        fewest = min(distinct, key=lambda name: distinct[name])
        if 2 * distinct[fewest] < len(rows):
            return fewest
    raise UsageError(
        f"{path} has no column that is known to hold labels: {', '.join(columns)}\n"
        f"rename the column to label (known: {', '.join(LABEL_COLUMNS)})"
    )


def _texts(rows: list[Record], column: str, path: Path) -> list[str]:
    """The cells of a column; raises unless all are texts."""
    cells: list[Any] = [record.value.get(column) for record in rows]
    for record, cell in zip(rows, cells, strict=True):
        if not isinstance(cell, str) or not cell.strip() or not is_valid_text(cell):
            raise DataError(
                f"{_place(record, path)}: {column!r} is {cell!r}, a text is needed\ncorrect or remove the row"
            )
    return [with_plain_newlines(cell) for cell in cells]


def _class_name(record: Record, column: str, path: Path) -> str:
    """The class of a row; raises a DataError if it has none."""
    value = record.value.get(column)
    if not isinstance(value, str | int | float) or str(value).strip() in ("", "nan"):
        raise DataError(
            f"{_place(record, path)}: {column!r} is {value!r}, a label is needed\ncorrect or remove the row"
        )
    return str(value).strip()


def _from_folder(root: Path) -> tuple[LabelledTexts, LabelledTexts | None]:
    """The texts of a folder of classes, or of its train part and its test part."""
    files, refused = find_files(root, _kind_in_class)
    tops = {file.name.partition("/")[0] for file in files if "/" in file.name}
    train, test = part_named(TRAIN_NAMES, tops), part_named(TEST_NAMES, tops)
    if train is None or test is None:  # a folder of one of these names may be a class
        return _class_folders(root, "", files, refused), None
    parts = (_class_folders(root, f"{part}/", files, refused) for part in (train, test))
    return next(parts), next(parts)


def _class_folders(root: Path, prefix: str, files: Sequence[TextFile], refused: Sequence[Problem]) -> LabelledTexts:
    """The texts below ``prefix`` and their classes, the names of their folders."""
    where = f"folder {root / prefix}"
    chosen = [(file, file.name.removeprefix(prefix)) for file in files if file.name.startswith(prefix)]
    loose = [name for _, name in chosen if "/" not in name]
    if loose:
        raise DataError(
            f"{where} has texts outside class folders: {', '.join(loose[:5])}{' …' if len(loose) > 5 else ''}\n"
            "labels are read from folders: good/1.txt, bad/2.txt, ..."
        )
    problems = [f"{problem.path}: {problem.reason}" for problem in refused if problem.path.startswith(prefix)]
    texts = [_whole(file, problems) for file, _ in chosen]
    if problems:
        _refuse(problems, where)
    return _numbered(texts, [name.partition("/")[0] for _, name in chosen], where)


def _kind_in_class(name: str) -> str | None:
    """The kind of a text file of a class, or None for other files."""
    return "plain" if name.lower().removesuffix(".gz").endswith(".txt") else None


def _whole(file: TextFile, problems: list[str]) -> str:
    """The text of one file; if there is none, a problem is added."""
    known = len(problems)
    documents = read_plain(file, "file", lambda at, why: problems.append(f"{file.name}, byte {at}: {why}"))
    text = next((text for _, text in documents), "")
    if not text and len(problems) == known:
        problems.append(f"{file.name}: empty")
    return text


def _numbered(texts: list[str], names: list[str], what: str) -> LabelledTexts:
    """Texts with their classes as numbers; raises a DataError for fewer than two classes."""
    classes = sorted(set(names))
    if len(classes) < 2:
        raise DataError(f"{what} has one class, {classes[0]!r}\nat least two are needed to evaluate")
    numbers = {name: number for number, name in enumerate(classes)}
    return LabelledTexts(texts, np.array([numbers[name] for name in names], dtype=np.int64), classes)


def _pair_columns(rows: list[Record], columns: list[str], path: Path) -> tuple[str, str, str]:
    """The columns of the first sentence, the second and the score."""
    named = [known_column(columns, known) for known in (_FIRST, _SECOND, _SCORES)]
    first, second, score = named
    if first is not None and second is not None and score is not None:
        return first, second, score
    if _without_header(columns) and len(columns) == 3:
        numeric = [name for name in columns if all(_number(record.value[name]) is not None for record in rows)]
        if len(numeric) == 1:
            first, second = (name for name in columns if name != numeric[0])
            return first, second, numeric[0]
    raise UsageError(
        f"{path} has columns {', '.join(columns)}\n"
        "needed are sentence1, sentence2 and score; or no header and three columns, one of them numbers"
    )


def _number(value: object) -> float | None:
    """A finite number, or None."""
    try:
        number = float(value) if isinstance(value, str | int | float) else math.nan
    except ValueError:
        return None
    return number if math.isfinite(number) else None
