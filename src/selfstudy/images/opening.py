"""Opens any data that a user names as a :class:`Source`: images by number, with ids, and labels if asked for."""

from pathlib import Path

from selfstudy.data.names import name_of
from selfstudy.errors import UsageError, did_you_mean
from selfstudy.images import archive, arrays, folder, named, tables
from selfstudy.images.members import refuse_test_split
from selfstudy.images.sources import Format, Source

FORMATS: tuple[Format, ...] = tuple(one for file in (folder, archive, arrays, tables, named) for one in file.FORMATS)
"""Every kind of path or name that can be opened; a new kind is a new file, added here."""


def open_source(
    data: object, *, labels: bool = False, split: str | None = None, label_column: str | None = None
) -> Source:
    """The source behind a path, a name, an array, a tensor or a ``Dataset``.

    Args:
        data: a path or a name of one of :data:`FORMATS`, an array (N, H, W[, C]), a tensor (N, C, H, W), a pair
            (images, labels), or a ``torch.utils.data.Dataset``.
        labels: True if labels are needed; class folders are read as labels only then.
        split: ``train`` or ``test``, for data that has both; None takes the train part of such data.
        label_column: the column of a table that holds the labels; ``label`` if left out.

    Raises:
        UsageError: nothing is there, the kind of data is unknown, the data has no such split, or a column is asked for
            and the data is not a table.
        DataError: there are no images, or labels are asked for and there are none.
    """
    is_path = isinstance(data, str | Path)
    found, where = _recognised(str(data)) if is_path else (None, data)
    if label_column is not None and (found is None or not found.has_columns):
        raise UsageError(
            f"{name_of(data)} is not a table, so it has no column {label_column!r}\nleave the label column out"
        )
    if found is None:
        refuse_test_split(split, name_of(data))
        return arrays.open_object(data, labels=labels)
    columns = {"label_column": label_column} if found.has_columns else {}
    return found.open(where, labels=labels, split=split, **columns)


def _recognised(name: str) -> tuple[Format, str | Path]:
    """The format of what a user typed, and what its ``open`` takes."""
    path = Path(name)
    prefix, colon, rest = name.partition(":")
    if colon and len(prefix) > 1 and not path.exists():  # a single letter is a drive of Windows
        prefixes = {one.prefix: one for one in FORMATS if one.prefix}
        if prefix not in prefixes:
            raise UsageError(
                f"unknown kind of data {prefix!r}{did_you_mean(prefix, prefixes)}\n"
                f"known: {', '.join(f'{key}:NAME' for key in prefixes)}, or a path"
            )
        return prefixes[prefix], rest
    if not path.exists():
        raise UsageError(f"{name!r} does not exist\nname a folder, archive, list or table, or see 'selfstudy samples'")
    ending = path.name.lower() + ("/" if path.is_dir() else "")
    for one in FORMATS:
        if ending.endswith((*one.suffixes, *one.refused)):
            return one, path
    suffixes = [suffix for one in FORMATS for suffix in one.suffixes if suffix != "/"]
    raise UsageError(f"{name!r} is not a kind of data that can be opened\nallowed: a folder, {', '.join(suffixes)}")
