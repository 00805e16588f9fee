"""Lists of paths (text, CSV, Parquet), and Parquet tables that hold encoded images."""

import csv
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from selfstudy.errors import DataError, did_you_mean
from selfstudy.images.folder import FileReader
from selfstudy.images.members import EncodedImages, refuse_test_split
from selfstudy.images.sources import Format

_PATH_COLUMNS = ("path", "file", "file_name", "filename", "image_path")
_IMAGE_COLUMNS = ("image", "img", "bytes", "jpg", "png")


class _Cells:
    """The bytes of a row of a binary column by its number."""

    def __init__(self, cells: pa.ChunkedArray) -> None:
        self.cells = cells

    def __call__(self, index: int) -> bytes:
        return self.cells[index].as_py() or b""


def open_table(path: Path, *, labels: bool, split: str | None, label_column: str | None) -> EncodedImages:
    """The images that a table names or holds.

    A ``.txt`` or ``.lst`` file has one path per line. A CSV, TSV or Parquet file has a column of paths (``path``,
    ``file``, ``file_name``, ``filename`` or ``image_path``) and, for evaluation, one of labels. A Parquet file may
    hold the encoded images themselves (``image``, ``img``, ``bytes``, ``jpg`` or ``png``). Relative paths start at the
    folder of the table.

    Raises:
        UsageError: the test split is asked for; a table has one part.
        DataError: the table cannot be read, is empty, or lacks a column that is needed.
    """
    what, label_column = f"table {path}", label_column or "label"
    refuse_test_split(split, what)
    try:
        if path.suffix.lower() == ".parquet":
            table = pq.read_table(path)
            image_column = next((name for name in _IMAGE_COLUMNS if name in table.column_names), None)
            if image_column is not None:
                return _encoded_table(table, image_column, labels=labels, label_column=label_column, what=what)
            columns = table.to_pydict()
        else:
            columns = _text_columns(path)
    except (OSError, UnicodeDecodeError, pa.ArrowException, csv.Error) as error:
        raise DataError(f"{what} cannot be read: {error}") from None
    key = next((name for name in _PATH_COLUMNS if name in columns), None)
    if key is None:
        raise DataError(f"{what} has columns {', '.join(columns)}; one named path is needed")
    names = columns[key]
    if not names:
        raise DataError(f"{what} lists no images")
    wrong = next((row for row, name in enumerate(names) if not isinstance(name, str) or not name), None)
    if wrong is not None:
        raise DataError(
            f"{what}, row {wrong} (from 0): {key!r} is {names[wrong]!r}, a path is needed\nrepair or remove the row"
        )
    paths = [str(path.parent / name) for name in names]
    try:
        sizes = [Path(p).stat().st_size if Path(p).is_file() else -1 for p in paths]
    except OSError:  # a line that is too long for a path
        raise DataError(
            f"{what} holds lines that cannot be paths of images\nthis looks like text: use --method bert or gpt"
        ) from None
    return EncodedImages(
        _unique(names),
        sizes,
        fetch=FileReader(paths),
        label_names=_labels(columns, label_column, what) if labels else None,
        what=what,
        paths=paths,
    )


def _text_columns(path: Path) -> dict[str, list[str]]:
    """The columns of a delimited file with a header, or the lines of a list as column ``path``."""
    text = path.read_text(encoding="utf-8-sig")
    if path.suffix.lower() in (".txt", ".lst"):
        return {"path": [line for line in text.splitlines() if line.strip()]}
    rows = list(csv.reader(text.splitlines(), delimiter="\t" if path.suffix.lower() == ".tsv" else ","))
    if not rows:
        return {}
    header, body = rows[0], [row for row in rows[1:] if row]
    if any(len(row) != len(header) for row in body):
        number = next(number for number, row in enumerate(body, 2) if len(row) != len(header))
        raise csv.Error(f"row {number} does not have the header's {len(header)} fields")
    return {name.strip(): [row[i] for row in body] for i, name in enumerate(header)}


def _encoded_table(table: pa.Table, column: str, *, labels: bool, label_column: str, what: str) -> EncodedImages:
    """The images in a column of encoded files: bytes, or records {bytes, path} as in Hugging Face data sets."""
    cells = table[column]
    if pa.types.is_struct(cells.type):
        cells = pa.chunked_array([chunk.field("bytes") for chunk in cells.chunks])
    if not (pa.types.is_binary(cells.type) or pa.types.is_large_binary(cells.type)):
        raise DataError(f"{what}: column {column!r} holds {cells.type}, encoded images are binary")
    columns: dict[str, list[object]] = {
        name: table[name].to_pylist() if name == label_column else [] for name in table.column_names
    }
    width = len(str(max(len(cells) - 1, 0)))
    return EncodedImages(
        [f"{number:0{width}d}" for number in range(len(cells))],
        [len(cell.as_py() or b"") for cell in cells],
        fetch=_Cells(cells),
        label_names=_labels(columns, label_column, what) if labels else None,
        what=what,
    )


def _labels(columns: dict[str, list[object]], label_column: str, what: str) -> list[str]:
    """The labels as names; numbers are padded with zeros, so that they sort as numbers."""
    if label_column not in columns:
        raise DataError(
            f"{what} has no column {label_column!r} of labels{did_you_mean(label_column, columns)}\n"
            f"it has: {', '.join(columns)}"
        )
    names = [str(value) for value in columns[label_column]]
    if len(set(names)) < 2:
        raise DataError(f"{what} has one class, {names[0]!r}\nat least two are needed to evaluate")
    return [name.zfill(6) for name in names] if all(name.isdigit() for name in names) else names


def _unique(names: list[str]) -> list[str]:
    """The names, made unique: the second ``a.png`` becomes ``a.png#1``."""
    seen: dict[str, int] = {}
    unique = []
    for name in names:
        count = seen.get(name, 0)
        seen[name] = count + 1
        unique.append(f"{name}#{count}" if count else name)
    return unique


FORMATS = (Format(open_table, suffixes=(".csv", ".tsv", ".txt", ".lst", ".parquet"), has_columns=True),)
