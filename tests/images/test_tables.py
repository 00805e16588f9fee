"""Lists of paths and tables of images."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from selfstudy.errors import DataError
from selfstudy.images.opening import open_source
from tests.images.conftest import PIXELS, as_csv


def test_a_csv_of_paths_reads_files_next_to_it(folder):
    source = open_source(as_csv(folder), labels=True)
    assert source.class_names == ["cats", "dogs", "owls"] and len(source) == 5
    assert np.array_equal(source.read(0).permute(1, 2, 0).numpy(), PIXELS[0])


def test_a_text_list_needs_no_header(folder):
    (folder.parent / "list.txt").write_text("photos/cats/a.png\n\nphotos/dogs/c.png\n")
    assert len(open_source(folder.parent / "list.txt")) == 2


@pytest.mark.parametrize("name", [None, ""])
def test_a_row_without_a_path_is_named(folder, name):
    pq.write_table(pa.table({"path": ["photos/cats/a.png", name]}), folder.parent / "list.parquet")
    with pytest.raises(DataError, match=f"row 1 .from 0.: 'path' is {name!r}, a path is needed\nrepair or remove"):
        open_source(folder.parent / "list.parquet")


def test_labels_are_read_from_the_column_that_is_named(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "list.csv").write_text("path,kind,label\na.png,x,1\na.png,y,1\n")
    assert open_source(tmp_path / "list.csv", labels=True, label_column="kind").class_names == ["x", "y"]
    pq.write_table(pa.table({"image": [(tmp_path / "a.png").read_bytes()] * 2, "kind": [3, 4]}), tmp_path / "t.parquet")
    assert len(open_source(tmp_path / "t.parquet", labels=True, label_column="kind").class_names) == 2
    for table, columns in (("list.csv", "path, kind, label"), ("t.parquet", "image, kind")):
        with pytest.raises(DataError, match=f"no column 'knd' of labels; did you mean 'kind'.*\nit has: {columns}$"):
            open_source(tmp_path / table, labels=True, label_column="knd")


@pytest.mark.parametrize(
    ("name", "content"), [("t.parquet", b"PAR1 no table"), ("t.csv", b"path,label\na.png\n"), ("t.txt", b"\xff.png")]
)
def test_a_table_that_cannot_be_read_is_named(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=f"^table {tmp_path / name} cannot be read: "):
        open_source(tmp_path / name)


def test_a_text_that_is_no_list_of_paths_is_recognised(tmp_path):
    (tmp_path / "book.txt").write_text(f"{'a red ball ' * 40}\n")
    with pytest.raises(DataError, match="book.txt holds lines that cannot be paths of images\nthis looks like text"):
        open_source(tmp_path / "book.txt")
