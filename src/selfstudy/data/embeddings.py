"""Embeddings as a Parquet file, written batch by batch, so that memory does not grow with the data."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console

from selfstudy.data.names import printable
from selfstudy.disk.atomic import staged_file
from selfstudy.errors import EnvironmentFault

Rows = tuple[Sequence[str], Sequence[str], npt.ArrayLike, Sequence[int] | None]


def write_embeddings(out: Path, batches: Iterable[Rows], *, metadata: Mapping[str, object]) -> int:
    """Write embeddings to ``out``, which appears complete or not at all; return the number of rows.

    Args:
        out: the file to write; its folder must exist.
        batches: tuples (ids, paths, embeddings (B, D) float32, labels or None). Without any, no file is written.
        metadata: values that JSON can hold, kept in the file under the key ``selfstudy``.

    Raises:
        EnvironmentFault: the system refuses to write.
        OSError: raised by ``batches``, which may read files.
    """
    unread: list[OSError] = []
    tables = _tables(batches, unread)
    first = next(tables, None)
    if first is None:
        return 0
    schema = first.schema.with_metadata({"selfstudy": json.dumps(metadata, default=list)})
    rows = 0
    try:
        with staged_file(out) as file, pq.ParquetWriter(file, schema) as writer:
            for table in chain([first], tables):
                writer.write_table(table)
                rows += len(table)
    except OSError as error:
        if error in unread:
            raise
        raise EnvironmentFault(
            f"cannot write {out}: {error.strerror or error}\nfree space or name another --out"
        ) from None
    return rows


def list_left_out(out: str | Path, reasons: Sequence[tuple[str, str]], *, unlisted: int = 0, console: Console) -> Path:
    """Write the inputs that have no row in ``out`` to a file next to it, and print their number.

    Args:
        out: the file that :func:`write_embeddings` wrote.
        reasons: (id, reason) of each input without a row.
        unlisted: the number of further inputs without a row, whose reasons are not known.
        console: the console that prints the number.

    Returns:
        The path ``OUT.unreadable.jsonl``. The file exists only if there are reasons.
    """
    file = Path(f"{out}.unreadable.jsonl")
    file.unlink(missing_ok=True)
    if reasons:
        lines = (json.dumps({"id": name, "reason": why}) + "\n" for name, why in reasons)
        file.write_text("".join(lines), encoding="utf-8")
        console.print(f"left out {len(reasons) + unlisted:,}; the reasons are in {file}", highlight=False)
    return file


def _tables(batches: Iterable[Rows], unread: list[OSError]) -> Iterator[pa.Table]:
    """The batches as tables. An error of the system while one is made is added to ``unread``, and raised."""
    try:
        for batch in batches:
            yield _table(*batch)
    except OSError as error:
        unread.append(error)
        raise


def _table(ids: Sequence[str], paths: Sequence[str], rows: npt.ArrayLike, labels: Sequence[int] | None) -> pa.Table:
    """One batch as a table. Names that are not UTF-8 are percent-escaped."""
    embeddings = np.asarray(rows, dtype=np.float32)
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(embeddings.ravel()), embeddings.shape[1])
    columns = {"id": pa.array(map(printable, ids)), "path": pa.array(map(printable, paths)), "embedding": vectors}
    return pa.table(columns | ({} if labels is None else {"label": pa.array(labels, pa.int64())}))
