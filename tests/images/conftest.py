"""Six small photos in a folder, and the same in other containers."""

import tarfile
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 10, 12, 3), dtype=np.uint8)


NAMES = ["cats/a.png", "cats/b.PNG", "dogs/c.png", "dogs/d.png", "dogs/x,y\n.png", "owls/é.png"]


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "photos"
    for name, pixels in zip(NAMES, PIXELS, strict=True):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(root / name, "PNG")
    return root


def as_zip(folder):
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as archive:
        for name in NAMES:
            archive.write(folder / name, name)
    return path


def as_tar(folder):
    path = folder.with_suffix(".tar")
    with tarfile.open(path, "w") as archive:
        archive.add(folder, ".")
    return path


def as_csv(folder):
    import csv

    path = folder.parent / "list.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(
            [["path", "label"], *([f"photos/{n}", n.split("/")[0]] for n in NAMES if "\n" not in n)]
        )
    return path


def as_parquet(folder):
    path = folder.parent / "table.parquet"
    cells = [{"bytes": (folder / name).read_bytes(), "path": name} for name in NAMES]
    pq.write_table(pa.table({"image": cells, "label": [name.split("/")[0] for name in NAMES]}), path)
    return path
