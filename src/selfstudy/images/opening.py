"""Opens whatever the user points at as a :class:`Source`: images by number, with ids, and labels when asked for."""

from pathlib import Path
from typing import Any

from selfstudy.data.names import name_of
from selfstudy.errors import UsageError, did_you_mean
from selfstudy.images import archive, arrays, folder, named, tables
from selfstudy.images.sources import Source

_TABLES = (".txt", ".csv", ".tsv", ".lst", ".parquet")


def open_source(
    data: Any, *, labels: bool = False, split: str | None = None, label_column: str | None = None
) -> Source:
    """The source behind a path, a name, an array, a tensor or a ``Dataset``.

    Args:
        data: a folder; a zip or tar of one; a text, CSV or Parquet list of paths; a Parquet table of encoded images; an
            ``.npz`` or ``.npy`` file; ``torchvision:NAME``, ``hub:NAME``, ``sample:NAME``; an array (N, H, W[, C]), a
            tensor (N, C, H, W), or a ``torch.utils.data.Dataset``.
        labels: whether labels are needed; class sub-folders are read as labels only then.
        split: ``train`` or ``test``, where the data has them; None takes the train part when there are two.
        label_column: of a table; ``label`` when left out.

    Raises:
        UsageError: nothing there, an unknown kind, a split the data does not have, or a column of what is no table.
        DataError: no images, or labels asked for and not found.
    """
    is_path = isinstance(data, str | Path)
    if label_column is not None and not (is_path and Path(data).suffix.lower() in _TABLES):
        raise UsageError(
            f"{name_of(data)} is no table, which alone has a column {label_column!r}\nleave the label column out"
        )
    if is_path:
        return _open_named(str(data), labels, split, label_column)
    from selfstudy.images.arrays import open_object

    _refuse_test_split(split, name_of(data))
    return open_object(data, labels=labels)


def _open_named(name: str, labels: bool, split: str | None, label_column: str | None) -> Source:
    """A source from the text a user types."""
    prefix, colon, rest = name.partition(":")
    if colon and len(prefix) > 1 and not Path(name).exists():
        if prefix not in named.OPENERS:
            raise UsageError(
                f"unknown kind of data {prefix!r}{did_you_mean(prefix, named.OPENERS)}\n"
                f"known: {', '.join(f'{key}:NAME' for key in named.OPENERS)}, or a path"
            )
        return named.OPENERS[prefix](rest, labels=labels, split=split)
    path = Path(name)
    if path.is_dir():
        return folder.open_folder(path, labels=labels, split=split)
    if not path.exists():
        raise UsageError(f"{name!r} does not exist\nname a folder, archive, list or table, or see 'selfstudy samples'")
    suffixes = "".join(path.suffixes[-2:]).lower()
    if path.suffix.lower() == ".zip" or ".tar" in suffixes or path.suffix.lower() == ".tgz":
        return archive.open_archive(path, labels=labels, split=split)
    if path.suffix.lower() in (".npz", ".npy"):
        return arrays.open_array_file(path, labels=labels, split=split)
    if path.suffix.lower() in _TABLES:
        _refuse_test_split(split, f"table {name}")
        return tables.open_table(path, labels=labels, label_column=label_column or "label")
    raise UsageError(
        f"{name!r} is not a kind of data that can be opened\n"
        "allowed: a folder, .zip, .tar, .txt, .csv, .tsv, .parquet, .npz, .npy"
    )


def _refuse_test_split(split: str | None, what: str) -> None:
    """Data of one part has nothing to test on apart: all of it given for the test would be the train images again."""
    if split == "test":
        raise UsageError(f"{what} has no 'test' split\ngive the test images apart")
