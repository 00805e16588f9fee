"""The file formats of text, each read as a stream: plain text, JSON lines, CSV, TSV and Parquet.

All except Parquet may be gzipped. Text is UTF-8, or UTF-16 with a byte order mark. A reader does not stop at damage:
what cannot be used is reported with its place and skipped, and the rest is read.
"""

import codecs
import csv
import gzip
import json
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain, islice
from typing import Any, BinaryIO, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from selfstudy.text.columns import LABEL_COLUMNS, TEXT_COLUMNS

_HEADER_WORDS = {*TEXT_COLUMNS, *LABEL_COLUMNS, "id", "idx", "index", "title", "url", "sentence1", "sentence2", "score"}

_BLOCK = 1 << 18  # bytes read at once; with the decoded text they are most of the memory of a stream
_TAIL = 1 << 16  # the end of a block, which is searched first for the last blank line
_CELL = 1 << 26  # characters in one CSV cell; without a limit, a missing quote would take in the rest of the file
_ROWS = 256  # rows of a Parquet file that are read at once
_SAMPLE = 100  # records that are looked at to find the column of the text
_BINARY = "looks binary: it has a NUL byte"
_UTF16 = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}

_BLANK = b" \t\f\v\r\n"
# a search for a pattern is many times faster if the pattern begins with one literal character
_BLANK_LINES = re.compile(r"\n(?:[ \t\f\v]*\n)+")
# the first line end must not be the "\r" of "\r\n": otherwise "\r\n" would count as two line ends
_BLANK_LINE_BYTES = re.compile(rb"(?:\n|\r(?!\n))[ \t\f\v]*[\r\n]")
_LAST_CHARACTER = re.compile(rb"[\xc0-\xff][\x80-\xbf]{0,2}\Z")

Report = Callable[[int, str], None]  # is called with a byte offset and a reason


class TextFile(NamedTuple):
    """One file.

    Attributes:
        path: the path.
        name: the relative path with "/", for ids and messages.
        size: the number of bytes on disk.
        kind: ``plain``, ``jsonl``, ``csv``, ``tsv`` or ``parquet``.
    """

    path: str
    name: str
    size: int
    kind: str


class Record(NamedTuple):
    """One row or line.

    Attributes:
        number: its number in the file, from 0.
        offset: the byte at which it begins; 0 for Parquet.
        value: the cells by column, or a string in JSON lines.
    """

    number: int
    offset: int
    value: Any


def read_plain(file: TextFile, rule: str, report: Report) -> Iterator[tuple[int, str]]:
    """The documents of a plain text file, each with its number from 0.

    Skipped documents have a number too; blank ones have none.

    Args:
        file: a file of kind ``plain``.
        rule: ``file``, ``line`` or ``blank-line``. A blank line holds nothing but spaces, tabs and form feeds.
        report: is called for everything that is skipped.
    """
    if rule == "file":
        blocks = list(_blocks(file, report))
        text = _decoded(blocks[0][0], b"".join(block for _, block in blocks), report) if blocks else None
        if text and not text.isspace():
            yield 0, text
        return
    number = 0
    for offset, chunk in _chunks(_blocks(file, report), _line_end if rule == "line" else _paragraph_end):
        for text in _units(offset, chunk, rule, report):
            if text is not None:
                yield number, text
            number += 1


def read_records(
    file: TextFile, report: Report, *, header: bool = False, only: list[str] | None = None
) -> Iterator[Record]:
    """The records of a table or of JSON lines.

    A CSV or TSV file has a header if a cell of the first row is a usual name of a column, such as ``text``, ``label``
    or ``id``. Without a header the columns are named ``"0"``, ``"1"``, and so on. TSV files have no quotes.

    Args:
        file: a file of any kind but ``plain``.
        report: is called for everything that is skipped; for Parquet the offset is 0 and the reason names the row.
        header: True if the first row of a CSV or TSV file is a header in any case.
        only: the columns of a Parquet file to read; None reads all columns of text, numbers or booleans.
    """
    if file.kind == "parquet":
        return _parquet_records(file, report, only)
    return _json_records(file, report) if file.kind == "jsonl" else _csv_records(file, report, header)


def first_rows(file: TextFile, *, header: bool = False) -> list[dict[str, Any]]:
    """The rows with columns among the first 100 records; nothing is reported."""
    records = islice(read_records(file, lambda offset, reason: None, header=header), _SAMPLE)
    return [record.value for record in records if isinstance(record.value, dict)]


def with_plain_newlines(text: str) -> str:
    r"""The text with "\n" for every line end."""
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def _blocks(file: TextFile, report: Report) -> Iterator[tuple[int, bytes]]:
    """The file as UTF-8 without byte order mark, in blocks of about 256 KiB, each with its offset in the file.

    The offsets in a UTF-16 file are those of its UTF-8 form.
    """
    offset = 0
    try:
        with open(file.path, "rb") as handle:
            zipped = file.path.lower().endswith(".gz")
            blocks = _unzipped(handle, file.kind, report) if zipped else iter(partial(handle.read, _BLOCK), b"")
            first = next(blocks, b"")
            if first[:2] in _UTF16:
                blocks = _from_utf16(chain([first[2:]], blocks), _UTF16[first[:2]], report)
                first = next(blocks, b"")
            elif first.startswith(codecs.BOM_UTF8):
                offset, first = len(codecs.BOM_UTF8), first[len(codecs.BOM_UTF8) :]
            if b"\0" in first:
                report(offset + first.index(b"\0"), _BINARY)
                return
            for block in chain([first], blocks):
                if block:
                    yield offset, block
                    offset += len(block)
    except OSError as error:
        report(offset, error.strerror or str(error))


def _unzipped(handle: BinaryIO, kind: str, report: Report) -> Iterator[bytes]:
    """The decompressed blocks; of a damaged file those before the damage, up to the last complete character or row."""
    stream = gzip.GzipFile(fileobj=handle)
    pieces: list[bytes] = []
    total = pending = 0
    try:
        while piece := stream.read1(_BLOCK):  # read() would lose the bytes just before the damage
            total += len(piece)
            if pending >= _BLOCK:
                yield b"".join(pieces)
                pieces, pending = [], 0
            pieces.append(piece)
            pending += len(piece)
    except (EOFError, OSError, zlib.error) as error:
        report(total, f"damaged gzip: {error}")
        rest = b"".join(pieces)
        pieces = [_LAST_CHARACTER.sub(b"", rest) if kind == "plain" else rest[: rest.rfind(b"\n") + 1]]
    yield b"".join(pieces)


def _from_utf16(blocks: Iterable[bytes], codec: str, report: Report) -> Iterator[bytes]:
    """UTF-16 recoded as UTF-8. Half of a surrogate pair becomes bytes that are not UTF-8, and is found as such."""
    decoder = codecs.getincrementaldecoder(codec)("surrogatepass")
    total = 0
    for block in blocks:
        recoded = decoder.decode(block).encode("utf-8", "surrogatepass")
        total += len(recoded)
        yield recoded
    try:
        yield decoder.decode(b"", True).encode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        report(total, "not UTF-16: it ends inside a character")


def _chunks(blocks: Iterable[tuple[int, bytes]], end: Callable[[bytes], int]) -> Iterator[tuple[int, bytes]]:
    """The blocks, cut so that each document lies in one; ``end`` returns the last place to cut in a block, or 0."""
    pieces: list[bytes] = []
    after = 0
    for offset, block in blocks:
        at = end(block)
        if at:
            chunk = b"".join([*pieces, block[:at]])
            yield offset + at - len(chunk), chunk
            pieces = []
        pieces.append(block[at:])
        after = offset + len(block)
    if rest := b"".join(pieces):
        yield after - len(rest), rest


def _line_end(block: bytes) -> int:
    r"""The end of the last line in a block. A final "\r" is not one: its "\n" may be in the next block."""
    return max(block.rfind(b"\n"), block.rfind(b"\r", 0, -1)) + 1


def _paragraph_end(block: bytes) -> int:
    """The end of the last blank line in a block; 0 without one. One at the very end may be missed: no harm."""
    for start in (len(block) - _TAIL, 0):
        ends = [found.end() for found in _BLANK_LINE_BYTES.finditer(block, max(start, 0))]
        if ends:
            return ends[-1]
    return 0


def _units(offset: int, chunk: bytes, rule: str, report: Report) -> list[str | None]:
    """The documents of a chunk, None for skipped ones. A chunk with damage is decoded document by document."""
    try:
        text = chunk.decode()
    except UnicodeDecodeError:
        text = "\0"
    if "\0" not in text:
        return [part for part in _split(with_plain_newlines(text), rule) if part and not part.isspace()]
    parts = [_decoded(offset + start, unit, report) for start, unit in _spans(chunk, rule)]
    return [part if part is None else part.removesuffix("\n") for part in parts if part is None or not part.isspace()]


def _split(text: str, rule: str) -> list[str]:
    """The lines of a text, or its runs of lines that are not blank."""
    if rule == "line":
        return text.split("\n")
    parts = _BLANK_LINES.split(f"\n{text}\n")  # so that blank lines at both ends look like all others
    parts[0] = parts[0].removeprefix("\n")
    parts[-1] = parts[-1].removesuffix("\n")
    return parts


def _spans(chunk: bytes, rule: str) -> Iterator[tuple[int, bytes]]:
    """The parts of :func:`_split` as bytes with their offsets: slower, for chunks with damage."""
    lines: list[bytes] = []
    after = 0
    for line in [*chunk.splitlines(keepends=True), b""]:
        blank = not line.strip(_BLANK)
        if lines and (blank or rule == "line"):
            unit = b"".join(lines)
            yield after - len(unit), unit
            lines = []
        if not blank:
            lines.append(line)
        after += len(line)


def _decoded(offset: int, unit: bytes, report: Report) -> str | None:
    """The text of one document; None if it is damaged, which is reported."""
    try:
        text = unit.decode()
    except UnicodeDecodeError as error:
        report(offset + error.start, f"not UTF-8: {error.reason}")
        return None
    if "\0" in text:
        report(offset + unit.index(b"\0"), _BINARY)
        return None
    return with_plain_newlines(text)


def _json_records(file: TextFile, report: Report) -> Iterator[Record]:
    """The records of JSON lines."""
    number = 0
    for offset, chunk in _chunks(_blocks(file, report), lambda block: block.rfind(b"\n") + 1):
        for line in chunk.split(b"\n"):
            if line.strip():
                value = _parsed(offset, line, report)
                if value is not None:
                    yield Record(number, offset, value)
                number += 1
            offset += len(line) + 1


def _parsed(offset: int, line: bytes, report: Report) -> dict[str, Any] | str | None:
    """The object or string in one line of JSON; None if there is none, which is reported."""
    try:
        text = line.decode()
        value = json.loads(text)
    except UnicodeDecodeError as error:
        report(offset + error.start, f"not UTF-8: {error.reason}")
    except json.JSONDecodeError as error:
        report(offset + len(text[: error.pos].encode()), f"not JSON: {error.msg}")
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, or thousands of brackets
        report(offset, f"JSON that cannot be read: {error}")
    else:
        if isinstance(value, dict | str):
            return value
        report(offset, f"a JSON {type(value).__name__}, an object or a string is needed")
    return None


def _csv_records(file: TextFile, report: Report, header: bool) -> Iterator[Record]:
    """The records of a CSV or TSV file."""
    names: list[str] = []
    number = 0
    for offset, row in _csv_rows(file, report):
        if row is not None and not names:
            cells = [cell.strip() for cell in row]
            if header or any(cell.casefold() in _HEADER_WORDS for cell in cells):
                names = cells
                continue
            names = [str(column) for column in range(len(row))]
        if row is not None and len(row) != len(names):
            report(offset, f"a row of {len(row)} cells, the first has {len(names)}")
        elif row is not None:
            yield Record(number, offset, dict(zip(names, row, strict=True)))
        number += 1


def _csv_rows(file: TextFile, report: Report) -> Iterator[tuple[int, list[str] | None]]:
    """The offset and the cells of every row that is not empty; None for a damaged row, which is reported."""
    wrong: list[tuple[int, str]] = []  # problems in the row that is being read; a skipped row is read to its end too
    after = 0

    def lines() -> Iterator[str]:
        nonlocal after
        for after, chunk in _chunks(_blocks(file, report), _line_end):
            for line in chunk.splitlines(keepends=True):
                text = _decoded(after, line, lambda at, why: wrong.append((at, why)))
                after += len(line)
                yield line.decode(errors="replace") if text is None else text

    reader = csv.reader(lines(), delimiter="\t", quoting=csv.QUOTE_NONE) if file.kind == "tsv" else csv.reader(lines())
    while True:
        start, row = after, []
        wrong.clear()
        try:
            row = _next_row(reader)
        except StopIteration:
            return
        except csv.Error as error:
            wrong.append((start, f"not CSV: {error}"))
        if wrong:
            report(*wrong[0])
            yield start, None
        elif row:
            yield start, row


def _next_row(reader: Iterator[list[str]]) -> list[str]:
    """The next row. The limit on cells is global in the process, so it is reset before other code runs."""
    limit = csv.field_size_limit(_CELL)
    try:
        return next(reader)
    finally:
        csv.field_size_limit(limit)


def _parquet_records(file: TextFile, report: Report, only: list[str] | None) -> Iterator[Record]:
    """The records of a Parquet file."""
    number = 0
    try:
        with pq.ParquetFile(file.path, buffer_size=_BLOCK) as table:
            names = [field.name for field in table.schema_arrow if _is_cell(field.type)] if only is None else only
            for batch in table.iter_batches(batch_size=_ROWS, columns=names):
                for value in _batch_rows(batch, number, report):
                    if value is not None:
                        yield Record(number, 0, value)
                    number += 1
    except (OSError, ValueError, pa.ArrowException) as error:  # ValueError: two columns have the same name
        report(0, f"damaged Parquet from row {number}: {error}")


def _is_cell(kind: pa.DataType) -> bool:
    """True if a column holds text, numbers or booleans; images and lists are not read."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    wanted = ("is_string", "is_large_string", "is_string_view", "is_integer", "is_floating", "is_boolean")
    return any(getattr(pa.types, name)(kind) for name in wanted)


def _batch_rows(batch: pa.RecordBatch, number: int, report: Report) -> list[dict[str, Any] | None]:
    """The rows of a batch; None for a row whose text is not UTF-8, which Parquet does not check."""
    try:
        return list(batch.to_pylist())
    except UnicodeDecodeError:
        if batch.num_rows == 1:
            report(0, f"row {number}: not UTF-8")
            return [None]
    singles = (_batch_rows(batch.slice(row, 1), number + row, report) for row in range(batch.num_rows))
    return list(chain.from_iterable(singles))
