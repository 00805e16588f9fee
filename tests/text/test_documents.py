import codecs
import csv
import gzip
import json
import os
import random
import tracemalloc

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from selfstudy.errors import DataError, UsageError
from selfstudy.text import documents, files
from selfstudy.text.documents import Document, Problem, open_documents

SAMPLE = ["One.", "Two é\n  lines.", "Drei €."]


def _texts(data, **settings):
    return [document.text for document in open_documents(data, **settings)]


def _write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def _as_plain(path):
    return _write(path.with_suffix(".txt"), "\n\n".join(SAMPLE))


def _as_gz(path):
    return _write(path.with_suffix(".txt.gz"), gzip.compress("\n\n".join(SAMPLE).encode()))


def _as_jsonl(path):
    return _write(path.with_suffix(".jsonl"), "".join(json.dumps({"n": 1, "text": text}) + "\n" for text in SAMPLE))


def _as_strings(path):
    return _write(path.with_suffix(".ndjson"), "\n".join(json.dumps(text) for text in SAMPLE))


def _as_csv(path):
    with path.with_suffix(".csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["id", "text"], *([number, text] for number, text in enumerate(SAMPLE))])
    return path.with_suffix(".csv")


def _as_parquet(path):
    pq.write_table(pa.table({"n": [1, 2, 3], "text": SAMPLE, "pixels": [b"\xff"] * 3}), path.with_suffix(".parquet"))
    return path.with_suffix(".parquet")


MAKERS = [_as_plain, _as_gz, _as_jsonl, _as_strings, _as_csv, _as_parquet]


@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
def test_every_format_gives_the_same_documents_as_often_as_asked(tmp_path, make):
    path = make(tmp_path / "a")
    found = open_documents(path)
    wanted = [Document(f"{path.name}#{number}", text) for number, text in enumerate(SAMPLE)]
    assert list(found) == wanted and list(found) == wanted and list(open_documents(str(path))) == wanted
    assert found.problems == [] and found.problem_count == 0


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
        path = _write(tmp_path / "a.txt", content)
        monkeypatch.setattr(files, "_BLOCK", draw.choice([3, 5, 16, 1 << 20]))
        monkeypatch.setattr(files, "_TAIL", draw.choice([4, 64]))
        wanted = [Document(f"a.txt#{number}", text) for number, text in _slowly(content, rule)]
        if content:
            assert list(open_documents(path, rule=rule)) == wanted, content


def test_one_plain_file_is_paragraphs_and_several_are_whole_files(tmp_path):
    _write(tmp_path / "in" / "a.txt", "One.\n\nTwo.\n")
    assert list(open_documents(tmp_path / "in")) == [("a.txt#0", "One."), ("a.txt#1", "Two.")]
    _write(tmp_path / "in" / "deep" / "b.md", "Three.")
    found = open_documents(tmp_path / "in")
    assert list(found) == [("a.txt", "One.\n\nTwo.\n"), ("deep/b.md", "Three.")] and found.rule == "file"
    assert _texts(tmp_path / "in", rule="line") == ["One.", "Two.", "Three."]
    assert _texts(tmp_path / "in" / "a.txt", rule="file") == ["One.\n\nTwo.\n"]


def test_tables_beside_plain_files_are_records(tmp_path):
    _write(tmp_path / "a.jsonl", '"One."\n"Two."\n')
    _write(tmp_path / "readme.md", "Three.\n\nFour.")
    assert _texts(tmp_path) == ["One.", "Two.", "Three.", "Four."]


def test_order_is_that_of_the_bytes_of_relative_paths(tmp_path):
    names = ["b.txt", "a/z.txt", "a.txt", "é.txt", "B.txt", "a-b.txt"]
    for name in names:
        _write(tmp_path / name, name)
    assert [document.id for document in open_documents(tmp_path)] == sorted(names, key=os.fsencode)


def test_hidden_and_foreign_files_links_and_pipes_are_passed_over(tmp_path):
    for name in ["a.txt", ".hidden.txt", ".git/b.txt", "__MACOSX/c.txt", "photo.png", "code.py", "d.parquet.gz"]:
        _write(tmp_path / name, "One.")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "link.txt").symlink_to(tmp_path / "a.txt")
    os.mkfifo(tmp_path / "pipe.txt")
    assert list(open_documents(tmp_path)) == [("a.txt#0", "One.")]


def test_a_name_that_is_not_utf8_is_read_and_its_id_can_be_written(tmp_path):
    with open(os.fsencode(tmp_path) + b"/\xff.txt", "w") as file:
        file.write("One.")
    found = open_documents(tmp_path)
    assert list(found) == [("%FF.txt#0", "One.")]


def test_a_folder_that_cannot_be_listed_is_a_problem(tmp_path, monkeypatch):
    _write(tmp_path / "a.txt", "One.")
    _write(tmp_path / "shut" / "b.txt", "Two.")
    scandir = os.scandir

    def refuse(path):
        if path == tmp_path / "shut":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    found = open_documents(tmp_path)
    assert len(list(found)) == 1 and found.problems == [Problem("shut", 0, "Permission denied")]


def test_a_file_that_went_away_is_a_problem(tmp_path):
    _write(tmp_path / "a.txt", "One.")
    gone = _write(tmp_path / "b.txt", "Two.")
    found = open_documents(tmp_path)
    gone.unlink()
    assert list(found) == [("a.txt", "One.")] and found.problems == [Problem("b.txt", 0, "No such file or directory")]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("block", [3, 1 << 20])
def test_byte_order_marks_are_dropped_and_utf16_is_read(tmp_path, monkeypatch, encoding, block):
    monkeypatch.setattr(files, "_BLOCK", block)
    text = "One 😀.\n\nZwei é."
    path = _write(tmp_path / "a.txt", text.encode(encoding))
    assert _texts(path) == ["One 😀.", "Zwei é."] and _texts(path, rule="file") == [text]
    table = _write(tmp_path / "a.csv", "text,n\nOne 😀,1\n".encode(encoding))
    assert _texts(table) == ["One 😀"]


def test_big_endian_utf16_is_read_and_its_lone_surrogates_are_not(tmp_path):
    content = codecs.BOM_UTF16_BE + "ab\n".encode("utf-16-be") + b"\xd8\x00" + "\ncd".encode("utf-16-be") + b"\x00"
    found = open_documents(_write(tmp_path / "a.txt", content), rule="line")
    assert [document.text for document in found] == ["ab", "cd"]
    assert [problem.offset for problem in found.problems] == [3, 9]
    assert "not UTF-16: it ends inside a character" in found.problems[1].reason


@pytest.mark.parametrize("start", [b"", codecs.BOM_UTF8])
@pytest.mark.parametrize("rule, kept", [("line", 3), ("blank-line", 2), ("file", 0)])
def test_only_the_document_that_holds_a_bad_byte_is_skipped(tmp_path, rule, kept, start):
    content = start + "é one\n\ntwo \xff and\nthree\n\nfour".encode("latin-1").replace(b"\xe9", "é".encode())
    found = open_documents(_write(tmp_path / "a.txt", content), rule=rule)
    assert len(list(found)) == kept
    assert found.problems == [Problem("a.txt", content.index(b"\xff"), "not UTF-8: invalid start byte")]


def test_ids_stay_as_they_are_when_a_document_is_damaged(tmp_path):
    whole = [document.id for document in open_documents(_write(tmp_path / "a.txt", "one\n\ntwo\n\nthree"))]
    assert [document.id for document in open_documents(_write(tmp_path / "a.txt", b"one\n\nt\xffo\n\nthree"))] == [
        whole[0],
        whole[2],
    ]


def test_a_binary_file_is_skipped_and_a_late_nul_costs_one_document(tmp_path, monkeypatch):
    _write(tmp_path / "a.txt", b"One.\n\n\0\x01")
    _write(tmp_path / "b.txt", "Two.")
    found = open_documents(tmp_path, rule="blank-line")
    assert list(found) == [("b.txt#0", "Two.")]
    assert found.problems == [Problem("a.txt", 6, "looks binary: it has a NUL byte")]
    monkeypatch.setattr(files, "_BLOCK", 4)
    assert list(found) == [("a.txt#0", "One."), ("b.txt#0", "Two.")] and found.problems[0].offset == 6


@pytest.mark.parametrize("block", [*range(3, 15), 1 << 20])
def test_every_line_end_becomes_a_newline(tmp_path, monkeypatch, block):
    monkeypatch.setattr(files, "_BLOCK", block)
    content = "one\r\ntwo\rthree\n"
    assert _texts(_write(tmp_path / "a.txt", content), rule="file") == ["one\ntwo\nthree\n"]
    assert _texts(_write(tmp_path / "a.txt", content)) == ["one\ntwo\nthree"]
    assert _texts(_write(tmp_path / "a.jsonl", json.dumps(content))) == ["one\ntwo\nthree\n"]
    assert _texts(_write(tmp_path / "a.csv", f'text,n\r\n"{content}",1\r\n')) == ["one\ntwo\nthree\n"]
    assert _texts([content]) == ["one\ntwo\nthree\n"]


def _random_gz(tmp_path, suffix, lines):
    draw = random.Random(0)
    content = "".join(f'"{draw.getrandbits(256):064x}"\n' for _ in range(lines)).encode()
    return _write(tmp_path / f"a{suffix}.gz", gzip.compress(content)), content


@pytest.mark.parametrize("suffix, cut_short", [(".txt", 1), (".jsonl", 0)])
def test_a_truncated_gz_gives_what_came_before_the_damage(tmp_path, suffix, cut_short):
    path, content = _random_gz(tmp_path, suffix, 2000)
    whole = _texts(path, rule="auto" if suffix == ".jsonl" else "line")
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
    assert _texts(_write(tmp_path / "a.txt.gz", cut)) == ["a"]


def test_a_gz_that_is_none_and_a_parquet_that_is_none_are_problems(tmp_path):
    _write(tmp_path / "a.txt.gz", "plain")
    _write(tmp_path / "b.parquet", "plain")
    _write(tmp_path / "c.jsonl", '"One."')
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
    found = open_documents(_write(tmp_path / "a.jsonl", b"\n".join(lines)))
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
    found = open_documents(_write(tmp_path / "a.csv", b"".join(rows)))
    assert list(found) == [("a.csv#0", "One,\ntwo"), ("a.csv#5", "seven")]
    content = b"".join(rows)
    assert found.problems == [
        Problem("a.csv", content.index(b"\xff"), "not UTF-8: invalid start byte"),
        Problem("a.csv", content.index(b"3,four"), "a row of 3 cells, the first has 2"),
        Problem("a.csv", content.index(b"\xff\n"), "not UTF-8: invalid start byte"),
    ]


def test_quotes_in_a_tsv_are_plain_characters(tmp_path):
    assert _texts(_write(tmp_path / "a.tsv", 'x\t"Open\ny\tshut" and, so\n')) == ['"Open', 'shut" and, so']


@pytest.fixture
def cell_limit():
    before = csv.field_size_limit(4321)
    yield 4321
    csv.field_size_limit(before)


def test_a_long_cell_is_read_and_the_limit_of_others_stays(tmp_path, monkeypatch, cell_limit):
    found = open_documents(_write(tmp_path / "a.csv", f"text,n\n{'x' * 200_000},1\nOne.,2\n"))
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
    assert _texts(tmp_path / "a.parquet") == texts


def test_the_usual_names_come_before_the_longest_column(tmp_path):
    rows = [{"title": "a much longer title", "Review": "short", "content": "body"}] * 2
    path = _write(tmp_path / "a.jsonl", "\n".join(json.dumps(row) for row in rows))
    assert _texts(path) == ["body", "body"] and _texts(path, column="Review") == ["short", "short"]
    rows = [
        {"title": "a title", "story": "a long story"},
        {"title": "a title", "story": ""},
        {"title": "", "story": "long"},
    ]
    path = _write(tmp_path / "a.jsonl", "\n".join(json.dumps(row) for row in rows))
    assert _texts(path) == ["a long story", "long"]


def test_a_table_without_a_header_has_numbered_columns(tmp_path):
    path = _write(tmp_path / "a.csv", "x,what a day,1\ny,what a night,2\n")
    assert _texts(path) == ["what a day", "what a night"] and _texts(path, column="0") == ["x", "y"]


def test_a_column_given_by_name_says_that_there_is_a_header(tmp_path):
    path = _write(tmp_path / "a.csv", "comment,stars\nOne.,5\n")
    assert _texts(path) == ["comment", "One."] and _texts(path, column="comment") == ["One."]


@pytest.mark.parametrize("make", [_as_jsonl, _as_csv, _as_parquet], ids=lambda make: make.__name__)
def test_a_column_that_no_file_has_is_refused_with_those_there_are(tmp_path, make):
    with pytest.raises(UsageError, match=r"no column 'txt'; did you mean 'text'\?\nit has: (n|id), text$"):
        open_documents(make(tmp_path / "a"), column="txt")


def test_a_file_without_the_column_that_others_have_is_a_problem(tmp_path):
    _write(tmp_path / "a.csv", "id,story\n1,One.\n")
    _write(tmp_path / "b.csv", "id,tale\n1,Two.\n2,Three.\n")
    pq.write_table(pa.table({"n": [1]}), tmp_path / "c.parquet")
    found = open_documents(tmp_path, column="story")
    assert list(found) == [("a.csv#0", "One.")]
    assert [problem.reason for problem in found.problems] == [
        "no column 'story' among id, tale",
        "no column 'story' among n",
    ]


def test_a_table_of_numbers_has_no_column_of_text(tmp_path):
    pq.write_table(pa.table({"n": [1]}), tmp_path / "a.parquet")
    found = open_documents(tmp_path / "a.parquet")
    assert list(found) == [] and found.problems == [Problem("a.parquet", 0, "no column of text among n")]


def test_only_the_first_problems_are_kept_but_all_are_counted(tmp_path):
    found = open_documents(_write(tmp_path / "a.txt", b"\xff\n" * 1500 + b"One."), rule="line")
    assert list(found) == [("a.txt#1500", "One.")]
    assert found.problem_count == 1500 and [problem.offset for problem in found.problems] == list(range(0, 2000, 2))


def test_problems_are_those_of_the_latest_iteration(tmp_path):
    path = _write(tmp_path / "a.txt", b"\xff\n" + b"One.\n" + b"\xff\n" + b"Two.")
    found = open_documents(path, rule="line")
    first = iter(found)
    next(first)
    assert found.problem_count > 0
    second = iter(found)
    assert found.problems == []
    list(first)
    assert found.problem_count == 0
    list(second)
    assert found.problem_count == 2


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz"])
def test_memory_does_not_grow_with_the_file(tmp_path, monkeypatch, name):
    monkeypatch.setattr(files, "_BLOCK", 1 << 12)
    content = b"A few words on a line.\nAnd some more.\n\n" * 25_000
    found = open_documents(_write(tmp_path / name, gzip.compress(content) if name.endswith("gz") else content))
    tracemalloc.start()
    count = sum(1 for _ in found)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 25_000 and peak < 300_000 < len(content) / 3


def test_a_description_says_how_much_there_is(tmp_path):
    folder = tmp_path / "corpus"
    _write(folder / "a.txt", "x" * 1_200_000)
    assert open_documents(folder).describe() == f"folder {folder}/: 1 file, 1.2 MB"
    _write(folder / "b.txt", "x" * 300)
    assert open_documents(f"{folder}/").describe() == f"folder {folder}/: 2 files, 1.2 MB"
    assert open_documents(folder / "b.txt").describe() == f"file {folder / 'b.txt'}: 300 bytes"
    assert open_documents(["é", "b"]).describe() == "2 texts, 3 bytes"


def test_texts_given_in_python_are_documents(tmp_path):
    found = open_documents(("One.", " \n", "Two.", "\ud800"))
    assert list(found) == [("0", "One."), ("2", "Two.")]
    assert found.problems == [Problem("3", 0, "half of a surrogate pair")]
    assert [document.id for document in found.with_blank()] == ["0", "1", "2"]


def test_blank_files_and_records_are_documents_only_for_those_who_ask(tmp_path):
    for name, content in [("a.txt", "One."), ("b.txt", " \n"), ("c.txt", ""), ("d.txt", "\0"), ("e.csv", "text\n'\n ")]:
        _write(tmp_path / name, content)
    found = open_documents(tmp_path)
    names = ["a.txt", "b.txt", "c.txt", "e.csv#0", "e.csv#1"]
    assert [document.id for document in found.with_blank()] == names and len(found.problems) == 1
    assert [document.id for document in found] == ["a.txt", "e.csv#0"]
    lines = open_documents(_write(tmp_path / "f.txt", "One.\n\n \nTwo.\n"), rule="line")
    assert list(lines) == list(lines.with_blank())


def test_the_library_of_the_running_python_is_a_sample():
    found = open_documents("sample:python")
    sample = dict(found)
    assert "def loads(" in sample["json/__init__.py"] and "textwrap.py" in sample
    assert not any(set(name.split("/")) & documents._NOT_SAMPLED for name in sample)
    assert (
        found.describe().startswith("sample:python, the standard library of Python 3.")
        and "files, " in found.describe()
    )


@pytest.mark.parametrize(
    "data, settings, message",
    [
        ("nowhere.txt", {}, r"'nowhere.txt' does not exist"),
        ("sample:pyton", {}, r"unknown sample of text 'pyton'; did you mean 'python'\?"),
        (["a"], {"rule": "lines"}, r"unknown rule 'lines'; did you mean 'line'\?\nallowed: auto, file, blank-line"),
        (["a"], {"rule": "line"}, "rule and column do not apply"),
        (["a"], {"column": "text"}, "rule and column do not apply"),
        (["a", 5], {}, "text 1 is int"),
        (b"abc", {}, "cannot read documents from bytes"),
        (None, {}, "cannot read documents from NoneType"),
    ],
)
def test_what_cannot_be_opened_is_refused(data, settings, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=message):
        open_documents(data, **settings)


def test_a_rule_or_column_that_does_not_fit_the_files_is_refused(tmp_path):
    plain, table = _as_plain(tmp_path / "a"), _as_csv(tmp_path / "a")
    with pytest.raises(UsageError, match=r"rule 'record' needs tables, a\.txt in file .* is plain text"):
        open_documents(plain, rule="record")
    for rule in ("file", "blank-line", "line"):
        with pytest.raises(UsageError, match=rf"rule '{rule}' is for plain text, a\.csv in"):
            open_documents(table, rule=rule)
    with pytest.raises(UsageError, match="column 'text' is for tables"):
        open_documents(plain, column="text")
    assert len(_texts(table, rule="record")) == 3
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="neither a file nor a folder"):
        open_documents(tmp_path / "pipe")


def test_nothing_to_read_says_what_was_there_and_what_is_read(tmp_path):
    with pytest.raises(DataError, match=r"no documents in folder .*: no files at all\nallowed: \.txt .*\.parquet"):
        open_documents(tmp_path)
    _write(tmp_path / "a.pdf", "x")
    with pytest.raises(DataError, match=r"no documents in folder .*: \.pdf 1\nallowed:"):
        open_documents(tmp_path)
    empty = _write(tmp_path / "a.txt", "")
    for data, message in [(tmp_path, "it is empty"), (empty, "it is empty"), ([], "0 texts"), ([" ", ""], "2 texts")]:
        with pytest.raises(DataError, match=f"no documents in .*{message}"):
            open_documents(data)


def test_a_folder_of_images_is_sent_to_the_image_methods(tmp_path):
    for name in ("cats/a.png", "cats/b.jpg", "Thumbs.db"):
        _write(tmp_path / name, "x")
    with pytest.raises(DataError, match="look like images: use an image method such as simclr"):
        open_documents(tmp_path)


def test_a_file_of_another_suffix_is_read_as_plain_text(tmp_path):
    assert _texts(_write(tmp_path / "code.py", "a = 1\n\nb = 2\n")) == ["a = 1", "b = 2"]
    assert _texts(_write(tmp_path / "log.gz", gzip.compress(b"a = 1\n\nb = 2\n"))) == ["a = 1", "b = 2"]
