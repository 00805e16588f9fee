"""Documents from raw text, as a stream: from a folder, a file, texts given in Python, or a sample.

A rule says what a document is: a whole ``file``, the lines up to a ``blank-line``, a ``line``, or a ``record`` of a
table. Memory does not grow with the corpus, but each document must fit into it.
"""

import os
import platform
import sysconfig
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol

from selfstudy.data.names import KINDS, is_image_name, kind_of, printable
from selfstudy.errors import DataError, UsageError, did_you_mean
from selfstudy.text.columns import column_names, text_column
from selfstudy.text.files import TextFile, first_rows, read_plain, read_records, with_plain_newlines

RULES = ("auto", "file", "blank-line", "line", "record")
SAMPLES = ("python",)
_KEPT_PROBLEMS = 1000
_NOT_SAMPLED = frozenset(
    "test tests idlelib lib2to3 site-packages dist-packages __pycache__ turtledemo ensurepip".split()
)


class Document(NamedTuple):
    """One text, the unit of held-out splits and of separators.

    Attributes:
        id: ``"folder/file.txt#3"``: the path relative to the root and, unless a document is a whole file, the number of
            the document in the file, from 0. Skipped documents count too, so damage changes no other id.
        text: a text that is not only white space; every line end is a single newline character.
    """

    id: str
    text: str


class Problem(NamedTuple):
    """Something that was skipped.

    Attributes:
        path: the path relative to the root; the number of the text for texts given in Python.
        offset: the byte in the decompressed file (for UTF-16, in its UTF-8 form); 0 for Parquet, whose reasons name the
            row.
        reason: a few words.
    """

    path: str
    offset: int
    reason: str


class _Log:
    """The problems of one iteration, and the columns of tables that the texts come from."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.count = 0
        self.columns: set[str] = set()

    def add(self, path: str, offset: int, reason: str) -> None:
        self.count += 1
        if len(self.problems) < _KEPT_PROBLEMS:
            self.problems.append(Problem(path, offset, reason))


class _Origin(Protocol):
    """The place that documents are read from."""

    def read(self, log: _Log) -> Iterator[Document]: ...


class Documents:
    """Documents that can be read any number of times; :func:`open_documents` makes them.

    Attributes:
        rule: the rule for plain text, never ``auto``; ``record`` if there are only tables.
    """

    def __init__(self, origin: _Origin, *, what: str, rule: str) -> None:
        self._origin, self._what, self.rule = origin, what, rule
        self._log = _Log()

    @property
    def problems(self) -> list[Problem]:
        """The first 1,000 things that the latest iteration, complete or not, skipped."""
        return self._log.problems

    @property
    def problem_count(self) -> int:
        """The number of things that the latest iteration skipped."""
        return self._log.count

    @property
    def columns(self) -> frozenset[str]:
        """The columns of tables that the texts of the latest iteration, complete or not, come from."""
        return frozenset(self._log.columns)

    def __iter__(self) -> Iterator[Document]:
        """The documents, sorted by the bytes of their paths, and within a file in its order."""
        return (document for document in self.with_blank() if document.text.strip())

    def with_blank(self) -> Iterator[Document]:
        """The documents, and also files, records and texts given in Python that are empty or white space."""
        self._log = _Log()
        return self._origin.read(self._log)

    def describe(self) -> str:
        """A few words such as ``"folder corpus/: 12 files, 3.4 MB"``, with the size on disk."""
        return self._what


def open_documents(data: str | Path | Sequence[str], *, rule: str = "auto", column: str = "auto") -> Documents:
    """The documents in raw text.

    Files are UTF-8, or UTF-16 with a byte order mark. What cannot be read is skipped and listed in ``problems``: a
    document with a byte that is not UTF-8, a JSON line that does not parse, a record without text, the rest of a
    damaged ``.gz`` or Parquet file, a file that looks binary.

    Args:
        data: one of the following. A folder: its files with the suffixes ``.txt .text .md .rst .jsonl .ndjson
            .json-lines .csv .tsv .parquet``, all except Parquet also with ``.gz``; links and hidden names are skipped.
            A file: one with another suffix is read as plain text. ``sample:python``: the standard library. A sequence
            of texts: each is a document.
        rule: the rule for plain text: ``file``, ``blank-line`` (lines between blank ones) or ``line``. In tables every
            ``record`` is a document. ``auto`` takes ``file`` for several plain files and ``blank-line`` for one, so
            that a large file is never read as a whole.
        column: the column of a table, or the key of JSON objects, that holds the text. ``auto`` takes ``text``,
            ``content``, ``sentence``, ``review``, ``body`` or ``document``; without one of these, in each file the
            column with the longest strings among the first 100 records. A CSV or TSV file without a header has columns
            ``"0"``, ``"1"``, ... It has a header if ``column`` is a name and not a number, or if a usual name such as
            ``text`` or ``label`` is in the first row.

    Raises:
        UsageError: nothing is there, the rule, sample or column is unknown, or the rule does not fit the files.
        DataError: no file can hold a document.
    """
    if rule not in RULES:
        raise UsageError(f"unknown rule {rule!r}{did_you_mean(rule, RULES)}\nallowed: {', '.join(RULES)}")
    if not isinstance(data, str | os.PathLike):
        return _open_texts(data, rule, column)
    if str(data).startswith("sample:") and not Path(data).exists():
        return _open_sample(str(data).removeprefix("sample:"), rule, column)
    path = Path(data)
    if path.is_dir():
        files, refused = find_files(path, kind_of)
        return _open_files(files, refused, f"folder {str(path).rstrip('/')}/", rule, column)
    return _open_files([single_file(path)], [], f"file {path}", rule, column)


def single_file(path: Path) -> TextFile:
    """The file at a path; its kind is that of its suffix, or plain.

    Raises:
        UsageError: there is no regular file at the path.
    """
    if not path.is_file():
        state = "is neither a file nor a folder" if path.exists() else "does not exist"
        raise UsageError(f"{str(path)!r} {state}\nname a folder or a file of text")
    return TextFile(str(path), printable(path.name), path.stat().st_size, kind_of(path.name) or "plain")


def find_files(root: Path, kind: Callable[[str], str | None]) -> tuple[list[TextFile], list[Problem]]:
    """The files under a folder, sorted by the bytes of their relative paths, and the folders that cannot be listed.

    Only regular files count; links and hidden names are skipped, so there are no loops.

    Args:
        root: the folder.
        kind: returns the kind of a file from its relative path with "/"; None skips the file.

    Raises:
        DataError: no file is left.
    """
    problems: list[Problem] = []
    everything = sorted(_visible_files(root, "", problems), key=lambda found: os.fsencode(found[0]))
    files = [
        TextFile(str(root / name), printable(name), size, found)
        for name, size in everything
        if (found := kind(name)) is not None
    ]
    if not files:
        seen = Counter(os.path.splitext(name)[1].lower() or "(none)" for name, _ in everything)
        held = ", ".join(f"{suffix} {count}" for suffix, count in seen.most_common(8)) or "no files at all"
        if 2 * sum(is_image_name(name) for name, _ in everything) > len(everything):
            raise DataError(
                f"no documents in folder {root}: {held}\nthese look like images: use an image method such as simclr"
            )
        raise DataError(
            f"no documents in folder {root}: {held}\nallowed: {' '.join(KINDS)}, all except .parquet also with .gz"
        )
    return files, problems


def implies_header(*columns: str) -> bool:
    """True if one of the columns has a name, so that the table must have a header.

    >>> implies_header("auto", "1"), implies_header("comment")
    (False, True)
    """
    return any(column != "auto" and not column.isdecimal() for column in columns)


def is_valid_text(text: str) -> bool:
    """True if a string is valid Unicode. JSON and Python allow halves of surrogate pairs, which no tokenizer reads."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class _Texts(NamedTuple):
    """Texts given in Python."""

    texts: tuple[str, ...]

    def read(self, log: _Log) -> Iterator[Document]:
        for number, text in enumerate(self.texts):
            if not is_valid_text(text):
                log.add(str(number), 0, "half of a surrogate pair")
            else:
                yield Document(str(number), with_plain_newlines(text))


class _Files(NamedTuple):
    """Files of any kind."""

    files: tuple[TextFile, ...]
    refused: tuple[Problem, ...]
    rule: str
    column: str

    def read(self, log: _Log) -> Iterator[Document]:
        for problem in self.refused:
            log.add(*problem)
        for file in self.files:
            report = partial(log.add, file.name)
            plain, known = file.kind == "plain", log.count
            texts = read_plain(file, self.rule, report) if plain else _texts_of(file, self.column, log)
            if plain and self.rule == "file":
                text = next((text for _, text in texts), "")
                if text or log.count == known:
                    yield Document(file.name, text)
                continue
            for number, text in texts:
                yield Document(f"{file.name}#{number}", text)


def _texts_of(file: TextFile, column: str, log: _Log) -> Iterator[tuple[int, str]]:
    """The number and the text of every record."""
    report = partial(log.add, file.name)
    header = implies_header(column)
    rows = first_rows(file, header=header)
    columns = column_names(rows)
    name = text_column(rows) if column == "auto" else column
    # a key may be missing from the first JSON objects, a column is there from the start
    if rows and (name is None or name not in columns and file.kind != "jsonl"):
        missing = "column of text" if name is None else f"column {name!r}"
        report(0, f"no {missing} among {', '.join(columns) or 'those'}")
        return
    log.columns |= set() if name is None else {name}
    for record in read_records(file, report, header=header, only=None if name is None else [name]):
        reason, text = _text_in(record.value, name)
        if reason:
            report(record.offset, reason if file.kind != "parquet" else f"row {record.number}: {reason}")
        else:
            yield record.number, with_plain_newlines(text)


def _text_in(value: object, name: str | None) -> tuple[str, str]:
    """The reason why a record cannot be used, or "", and its text."""
    if isinstance(value, dict):
        if name not in value:
            return f"a record without {'text' if name is None else repr(name)}", ""
        value = value[name]
    if not isinstance(value, str):
        return f"{name!r} is {'null' if value is None else type(value).__name__}, not text", ""
    return ("" if is_valid_text(value) else "half of a surrogate pair"), value


def _open_texts(texts: Sequence[str], rule: str, column: str) -> Documents:
    """Texts given in Python."""
    if not isinstance(texts, Sequence) or isinstance(texts, bytes | bytearray):
        raise UsageError(f"cannot read documents from {type(texts).__name__}\nallowed: a path, or a sequence of str")
    wrong = next((number for number, text in enumerate(texts) if not isinstance(text, str)), None)
    if wrong is not None:
        raise UsageError(f"text {wrong} is {type(texts[wrong]).__name__}\ntexts given in Python have to be str")
    if rule not in ("auto", "record") or column != "auto":
        raise UsageError("texts given in Python are one document each: rule and column do not apply to them")
    if not any(text and not text.isspace() for text in texts):
        raise DataError(f"no documents in {len(texts)} texts: all are empty")
    size = sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)
    what = f"{len(texts):,} text{'s' * (len(texts) != 1)}, {_in_bytes(size)}"
    return Documents(_Texts(tuple(texts)), what=what, rule="record")


def _open_sample(name: str, rule: str, column: str) -> Documents:
    """The documents of a sample, a corpus that every machine has."""
    if name not in SAMPLES:
        known = ", ".join(f"sample:{sample}" for sample in SAMPLES)
        raise UsageError(f"unknown sample of text {name!r}{did_you_mean(name, SAMPLES)}\nallowed: {known}")
    files, refused = find_files(Path(sysconfig.get_paths()["stdlib"]), _kind_in_library)
    what = f"sample:python, the standard library of Python {platform.python_version()}"
    return _open_files(files, refused, what, rule, column)


def _kind_in_library(name: str) -> str | None:
    """``plain`` for the sources of the standard library, without its tests and installed packages; None for others."""
    return "plain" if name.endswith(".py") and _NOT_SAMPLED.isdisjoint(name.split("/")) else None


def _open_files(files: list[TextFile], refused: list[Problem], what: str, rule: str, column: str) -> Documents:
    """The documents in files, after rule and column are checked against them."""
    rule = _fitting_rule(files, what, rule)
    if not any(file.size and os.access(file.path, os.R_OK) for file in files):
        raise DataError(f"no documents in {what}: {'every file' if len(files) > 1 else 'it'} is empty or unreadable")
    _require_column([file for file in files if file.kind != "plain"], what, column)
    count = "" if what.startswith("file ") else f"{len(files):,} file{'s' * (len(files) != 1)}, "
    what = f"{what}: {count}{_in_bytes(sum(file.size for file in files))}"
    return Documents(_Files(tuple(files), tuple(refused), rule, column), what=what, rule=rule)


def _fitting_rule(files: list[TextFile], what: str, rule: str) -> str:
    """The rule for plain files; ``record`` if there are none."""
    plain = [file.name for file in files if file.kind == "plain"]
    tables = [file.name for file in files if file.kind != "plain"]
    if rule == "auto":
        return "record" if not plain else "file" if len(plain) > 1 else "blank-line"
    if rule == "record" and plain:
        raise UsageError(
            f"rule 'record' needs tables, {plain[0]} in {what} is plain text\nuse file, blank-line or line"
        )
    if rule != "record" and tables:
        raise UsageError(f"rule {rule!r} is for plain text, {tables[0]} in {what} has records\nuse auto or record")
    return rule


def _require_column(tables: list[TextFile], what: str, column: str) -> None:
    """Raise if no file has the column. Files that cannot be read are not counted."""
    if column == "auto":
        return
    if not tables:
        raise UsageError(f"column {column!r} is for tables, {what} holds only plain text\nleave column out")
    columns: list[str] = []
    for file in tables:
        found = column_names(first_rows(file, header=implies_header(column)))
        if column in found:
            return
        columns = columns or found
    if columns:
        hint = did_you_mean(column, columns)
        raise UsageError(f"{what} has no column {column!r}{hint}\nit has: {', '.join(columns)}")


def _visible_files(root: Path, folder: str, problems: list[Problem]) -> Iterator[tuple[str, int]]:
    """The relative path (with "/") and the size in bytes of every regular file that is not hidden."""
    try:
        with os.scandir(root / folder) as scanned:
            entries = list(scanned)
    except OSError as error:
        problems.append(Problem(printable(folder) or ".", 0, error.strerror or str(error)))
        return
    for entry in entries:
        name = f"{folder}/{entry.name}" if folder else entry.name
        if entry.name.startswith(".") or entry.name == "__MACOSX":
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _visible_files(root, name, problems)
        elif entry.is_file(follow_symlinks=False):
            yield name, entry.stat(follow_symlinks=False).st_size


def _in_bytes(size: int) -> str:
    """A size in words.

    >>> _in_bytes(3_412_000)
    '3.4 MB'
    """
    power = min((len(str(size)) - 1) // 3, 3)
    return f"{size / 1000**power:.1f} {'kMG'[power - 1]}B" if power else f"{size} bytes"
