"""Every format is read as a stream; damage is named with its place and costs as little as it can."""

import codecs
import csv
import gzip
import json
import random
import tracemalloc

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from selfstudy.text import files
from selfstudy.text.documents import Document, Problem, open_documents
from tests.text.test_documents import texts_of, write_file


def _slowly(content, rule):
    """(number, text) of the documents, by splitting everything at once."""
    lines = content.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    groups = [[]]
    for line in lines:
        if rule == "line" or not line.strip(b" \t\f\v"):
            groups.append([])
        if line.strip(b" \t\f\v"):
            groups[-1].append(line)
    found, number = [], 0
    for group in filter(None, groups):
        try:
            text = b"\n".join(group).decode()
        except UnicodeDecodeError:
            number += 1
            continue
        if text.strip():
            found.append((number, text))
            number += 1
    return found


@pytest.mark.parametrize("bad", [[], [b"\xff"]], ids=["clean", "with bad bytes"])
@pytest.mark.parametrize("rule", ["line", "blank-line"])
def test_documents_are_those_of_a_slow_reading_wherever_blocks_end(tmp_path, monkeypatch, rule, bad):
    pieces = [
        b"\n",
        b"\r\n",
        b"\r",
        b"\n\n",
        b" ",
        b"\t",
        b"a",
        b"bc de",
        "é€😀".encode(),
        "\u3000\n".encode(),
        b"\x1c",
    ]
    for seed in range(60):
        draw = random.Random(seed)
        content = b"".join(draw.choices(pieces + bad, k=draw.randrange(80)))
        path = write_file(tmp_path / "a.txt", content)
        monkeypatch.setattr(files, "_BLOCK", draw.choice([3, 5, 16, 1 << 20]))
        monkeypatch.setattr(files, "_TAIL", draw.choice([4, 64]))
        wanted = [Document(f"a.txt#{number}", text) for number, text in _slowly(content, rule)]
        if content:
            assert list(open_documents(path, rule=rule)) == wanted, content


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("block", [3, 1 << 20])
def test_byte_order_marks_are_dropped_and_utf16_is_read(tmp_path, monkeypatch, encoding, block):
    monkeypatch.setattr(files, "_BLOCK", block)
    text = "One 😀.\n\nZwei é."
    path = write_file(tmp_path / "a.txt", text.encode(encoding))
    assert texts_of(path) == ["One 😀.", "Zwei é."] and texts_of(path, rule="file") == [text]
    table = write_file(tmp_path / "a.csv", "text,n\nOne 😀,1\n".encode(encoding))
    assert texts_of(table) == ["One 😀"]


def test_big_endian_utf16_is_read_and_its_lone_surrogates_are_not(tmp_path):
    content = codecs.BOM_UTF16_BE + "ab\n".encode("utf-16-be") + b"\xd8\x00" + "\ncd".encode("utf-16-be") + b"\x00"
    found = open_documents(write_file(tmp_path / "a.txt", content), rule="line")
    assert [document.text for document in found] == ["ab", "cd"]
    assert [problem.offset for problem in found.problems] == [3, 9]
    assert "not UTF-16: it ends inside a character" in found.problems[1].reason


@pytest.mark.parametrize("start", [b"", codecs.BOM_UTF8])
@pytest.mark.parametrize("rule, kept", [("line", 3), ("blank-line", 2), ("file", 0)])
def test_only_the_document_that_holds_a_bad_byte_is_skipped(tmp_path, rule, kept, start):
    content = start + "é one\n\ntwo \xff and\nthree\n\nfour".encode("latin-1").replace(b"\xe9", "é".encode())
    found = open_documents(write_file(tmp_path / "a.txt", content), rule=rule)
    assert len(list(found)) == kept
    assert found.problems == [Problem("a.txt", content.index(b"\xff"), "not UTF-8: invalid start byte")]


def test_a_binary_file_is_skipped_and_a_late_nul_costs_one_document(tmp_path, monkeypatch):
    write_file(tmp_path / "a.txt", b"One.\n\n\0\x01")
    write_file(tmp_path / "b.txt", "Two.")
    found = open_documents(tmp_path, rule="blank-line")
    assert list(found) == [("b.txt#0", "Two.")]
    assert found.problems == [Problem("a.txt", 6, "looks binary: it has a NUL byte")]
    monkeypatch.setattr(files, "_BLOCK", 4)
    assert list(found) == [("a.txt#0", "One."), ("b.txt#0", "Two.")] and found.problems[0].offset == 6


@pytest.mark.parametrize("block", [*range(3, 15), 1 << 20])
def test_every_line_end_becomes_a_newline(tmp_path, monkeypatch, block):
    monkeypatch.setattr(files, "_BLOCK", block)
    content = "one\r\ntwo\rthree\n"
    assert texts_of(write_file(tmp_path / "a.txt", content), rule="file") == ["one\ntwo\nthree\n"]
    assert texts_of(write_file(tmp_path / "a.txt", content)) == ["one\ntwo\nthree"]
    assert texts_of(write_file(tmp_path / "a.jsonl", json.dumps(content))) == ["one\ntwo\nthree\n"]
    assert texts_of(write_file(tmp_path / "a.csv", f'text,n\r\n"{content}",1\r\n')) == ["one\ntwo\nthree\n"]
    assert texts_of([content]) == ["one\ntwo\nthree\n"]


def _random_gz(tmp_path, suffix, lines):
    draw = random.Random(0)
    content = "".join(f'"{draw.getrandbits(256):064x}"\n' for _ in range(lines)).encode()
    return write_file(tmp_path / f"a{suffix}.gz", gzip.compress(content)), content


@pytest.mark.parametrize("suffix, cut_short", [(".txt", 1), (".jsonl", 0)])
def test_a_truncated_gz_gives_what_came_before_the_damage(tmp_path, suffix, cut_short):
    path, content = _random_gz(tmp_path, suffix, 2000)
    whole = texts_of(path, rule="auto" if suffix == ".jsonl" else "line")
    path.write_bytes(path.read_bytes()[:40_000])
    found = open_documents(path, rule="auto" if suffix == ".jsonl" else "line")
    texts = [document.text for document in found]
    assert 500 < len(texts) < 2000
    assert texts[: len(texts) - cut_short] == whole[: len(texts) - cut_short] and whole[len(texts) - 1].startswith(
        texts[-1]
    )
    (problem,) = found.problems
    assert problem.path == path.name and "damaged gzip" in problem.reason
    assert 0 <= problem.offset - sum(len(line) for line in content.splitlines(True)[: len(texts) - cut_short]) < 67


def test_a_gz_cut_within_a_character_costs_only_that_character(tmp_path):
    stored = gzip.compress("aé".encode(), compresslevel=0)
    cut = stored[: stored.index("é".encode()) + 1]
    assert texts_of(write_file(tmp_path / "a.txt.gz", cut)) == ["a"]


def test_a_gz_that_is_none_and_a_parquet_that_is_none_are_problems(tmp_path):
    write_file(tmp_path / "a.txt.gz", "plain")
    write_file(tmp_path / "b.parquet", "plain")
    write_file(tmp_path / "c.jsonl", '"One."')
    found = open_documents(tmp_path)
    assert list(found) == [("c.jsonl#0", "One.")]
    assert [problem.path for problem in found.problems] == ["a.txt.gz", "b.parquet"]
    assert "damaged gzip" in found.problems[0].reason and "damaged Parquet from row 0" in found.problems[1].reason


@pytest.mark.parametrize("block", [3, 7, 1 << 20])
def test_json_lines_that_cannot_be_used_are_named_with_their_place(tmp_path, monkeypatch, block):
    monkeypatch.setattr(files, "_BLOCK", block)
    lines = [
        b'{"text": "One."}',
        b'{"text": "T\xffo."}',
        b'{"text": "Three."',
        b"",
        b'{"title": "Four."}',
        b'{"text": 5}',
        b'{"text": null}',
        b"[1]",
        b'{"text": "\\ud800"}',
        b"[" * 100_000,
        b"9" * 5000,
        b'{"text": " "}',
        b'{"text": "Last."}',
    ]
    found = open_documents(write_file(tmp_path / "a.jsonl", b"\n".join(lines)))
    assert list(found) == [("a.jsonl#0", "One."), ("a.jsonl#11", "Last.")]
    starts = [len(b"\n".join(lines[:number])) + 1 for number in range(1, len(lines))]
    wanted = [
        (starts[0] + 11, "not UTF-8: invalid start byte"),
        (starts[1] + 17, "not JSON: Expecting ',' delimiter"),
        (starts[3], "a record without 'text'"),
        (starts[4], "'text' is int, not text"),
        (starts[5], "'text' is null, not text"),
        (starts[6], "a JSON list, an object or a string is needed"),
        (starts[7], "half of a surrogate pair"),
    ]
    assert found.problems[:7] == [Problem("a.jsonl", *place) for place in wanted]
    assert [problem.offset for problem in found.problems[7:]] == [starts[8], starts[9]]


@pytest.mark.parametrize("block", [3, 7, 1 << 20])
def test_csv_rows_that_cannot_be_used_are_named_with_their_place(tmp_path, monkeypatch, block):
    monkeypatch.setattr(files, "_BLOCK", block)
    rows = [
        b"id,text\n",
        b'1,"One,\ntwo"\n',
        b"\n",
        b"2,thr\xffee\n",
        b"3,four,five\n",
        b'4,"s\xff\n\xffix"\n',
        b"5,\n",
        b"6,seven",
    ]
    found = open_documents(write_file(tmp_path / "a.csv", b"".join(rows)))
    assert list(found) == [("a.csv#0", "One,\ntwo"), ("a.csv#5", "seven")]
    content = b"".join(rows)
    assert found.problems == [
        Problem("a.csv", content.index(b"\xff"), "not UTF-8: invalid start byte"),
        Problem("a.csv", content.index(b"3,four"), "a row of 3 cells, the first has 2"),
        Problem("a.csv", content.index(b"\xff\n"), "not UTF-8: invalid start byte"),
    ]


def test_quotes_in_a_tsv_are_plain_characters(tmp_path):
    assert texts_of(write_file(tmp_path / "a.tsv", 'x\t"Open\ny\tshut" and, so\n')) == ['"Open', 'shut" and, so']


@pytest.fixture
def cell_limit():
    before = csv.field_size_limit(4321)
    yield 4321
    csv.field_size_limit(before)


def test_a_long_cell_is_read_and_the_limit_of_others_stays(tmp_path, monkeypatch, cell_limit):
    found = open_documents(write_file(tmp_path / "a.csv", f"text,n\n{'x' * 200_000},1\nOne.,2\n"))
    for document in found:
        assert csv.field_size_limit() == cell_limit and len(document.text) in (200_000, 4)
    monkeypatch.setattr(files, "_CELL", 1000)
    assert [document.text for document in found] == ["One."] and csv.field_size_limit() == cell_limit
    assert found.problems[0].offset == 7 and "not CSV: field larger than field limit" in found.problems[0].reason


def test_null_and_damaged_cells_of_a_parquet_are_named_by_their_row(tmp_path):
    bad = pa.StringArray.from_buffers(1, pa.py_buffer(b"\0\0\0\0\1\0\0\0"), pa.py_buffer(b"\xff"))
    column = pa.chunked_array([pa.array(["One.", None, "Two."]), bad, pa.array(["Three."])])
    pq.write_table(pa.table({"text": column}), tmp_path / "a.parquet")
    found = open_documents(tmp_path / "a.parquet")
    assert list(found) == [("a.parquet#0", "One."), ("a.parquet#2", "Two."), ("a.parquet#4", "Three.")]
    assert sorted(problem.reason for problem in found.problems) == [
        "row 1: 'text' is null, not text",
        "row 3: not UTF-8",
    ]


def test_a_parquet_of_several_batches_keeps_its_order(tmp_path):
    texts = [f"text {number}" for number in range(700)]
    pq.write_table(pa.table({"text": pa.array(texts).dictionary_encode()}), tmp_path / "a.parquet", row_group_size=300)
    assert texts_of(tmp_path / "a.parquet") == texts


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz"])
def test_memory_does_not_grow_with_the_file(tmp_path, monkeypatch, name):
    monkeypatch.setattr(files, "_BLOCK", 1 << 12)
    content = b"A few words on a line.\nAnd some more.\n\n" * 25_000
    found = open_documents(write_file(tmp_path / name, gzip.compress(content) if name.endswith("gz") else content))
    tracemalloc.start()
    count = sum(1 for _ in found)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 25_000 and peak < 300_000 < len(content) / 3
