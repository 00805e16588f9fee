import errno
import io
import json
import resource

import numpy as np
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from selfstudy.data.embeddings import list_left_out, write_embeddings
from selfstudy.errors import EnvironmentFault


def _batches(count, rows=1000, dim=512, labels=True):
    for number in range(count):
        names = [f"{number}-{row}.png" for row in range(rows)]
        vectors = np.full((rows, dim), number, np.float32)
        yield names, [f"/x/{name}" for name in names], vectors, list(range(rows)) if labels else None


def test_rows_come_back_in_order_with_fixed_size_lists_and_metadata(tmp_path):
    out = tmp_path / "e.parquet"
    assert write_embeddings(out, _batches(3, rows=4, dim=5), metadata={"encoder": {"name": "resnet18"}}) == 12
    table = pq.read_table(out)
    assert table.column_names == ["id", "path", "embedding", "label"]
    assert table["id"][5].as_py() == "1-1.png" and table["embedding"][5].as_py() == [1.0] * 5
    assert table.schema.field("embedding").type.list_size == 5
    assert json.loads(table.schema.metadata[b"selfstudy"]) == {"encoder": {"name": "resnet18"}}


def test_names_that_are_not_unicode_survive(tmp_path):
    name = b"caf\xe9.png".decode("utf-8", "surrogateescape")
    write_embeddings(tmp_path / "e.parquet", [([name], [name], np.ones((1, 2)), None)], metadata={})
    table = pq.read_table(tmp_path / "e.parquet")
    assert table["id"].to_pylist() == ["caf%E9.png"] and table.column_names == ["id", "path", "embedding"]


def test_a_failure_half_way_leaves_the_old_file_and_no_other(tmp_path):
    out = tmp_path / "e.parquet"
    write_embeddings(out, _batches(1, rows=2, dim=3), metadata={})
    before = out.read_bytes()

    def failing():
        yield from _batches(1, rows=2, dim=3)
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        write_embeddings(out, failing(), metadata={})
    assert out.read_bytes() == before and list(tmp_path.iterdir()) == [out]


def test_without_a_batch_no_file_is_written_and_no_row_counted(tmp_path):
    assert write_embeddings(tmp_path / "e.parquet", iter([]), metadata={}) == 0 and not list(tmp_path.iterdir())


def test_inputs_without_a_row_are_listed_and_an_older_list_is_deleted(tmp_path):
    said = io.StringIO()
    console = Console(file=said, width=200)
    file = list_left_out(tmp_path / "e.parquet", [("a.png", "truncated")], unlisted=2, console=console)
    assert json.loads(file.read_text()) == {"id": "a.png", "reason": "truncated"}
    assert f"left out 3; the reasons are in {file}" in said.getvalue()
    assert not list_left_out(tmp_path / "e.parquet", [], console=console).exists()


def test_a_folder_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(EnvironmentFault, match="cannot write"):
        write_embeddings(tmp_path / "none" / "e.parquet", _batches(1, rows=2, dim=3), metadata={})


def test_an_input_that_cannot_be_read_is_not_blamed_on_the_output(tmp_path):
    def failing():
        yield from _batches(1, rows=2, dim=3)
        raise PermissionError(errno.EACCES, "Permission denied", "photos/1.png")

    with pytest.raises(PermissionError, match="photos/1.png"):
        write_embeddings(tmp_path / "e.parquet", failing(), metadata={})
    assert not list(tmp_path.iterdir())


def test_memory_does_not_grow_with_the_data(tmp_path):
    write_embeddings(tmp_path / "small.parquet", _batches(5), metadata={})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    write_embeddings(tmp_path / "large.parquet", _batches(150), metadata={})  # 300 MB of vectors
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 100_000  # kilobytes
