"""The extent of a document, the places where documents are found, and refusals."""

import csv
import gzip
import json
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from selfstudy.errors import DataError, UsageError
from selfstudy.text import documents
from selfstudy.text.documents import Document, Problem, open_documents

SAMPLE = ["One.", "Two é\n  lines.", "Drei €."]


def texts_of(data, **settings):
    return [document.text for document in open_documents(data, **settings)]


def write_file(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def _as_plain(path):
    return write_file(path.with_suffix(".txt"), "\n\n".join(SAMPLE))


def _as_gz(path):
    return write_file(path.with_suffix(".txt.gz"), gzip.compress("\n\n".join(SAMPLE).encode()))


def _as_jsonl(path):
    return write_file(path.with_suffix(".jsonl"), "".join(json.dumps({"n": 1, "text": text}) + "\n" for text in SAMPLE))


def _as_strings(path):
    return write_file(path.with_suffix(".ndjson"), "\n".join(json.dumps(text) for text in SAMPLE))


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


def test_one_plain_file_is_paragraphs_and_several_are_whole_files(tmp_path):
    write_file(tmp_path / "in" / "a.txt", "One.\n\nTwo.\n")
    assert list(open_documents(tmp_path / "in")) == [("a.txt#0", "One."), ("a.txt#1", "Two.")]
    write_file(tmp_path / "in" / "deep" / "b.md", "Three.")
    found = open_documents(tmp_path / "in")
    assert list(found) == [("a.txt", "One.\n\nTwo.\n"), ("deep/b.md", "Three.")] and found.rule == "file"
    assert texts_of(tmp_path / "in", rule="line") == ["One.", "Two.", "Three."]
    assert texts_of(tmp_path / "in" / "a.txt", rule="file") == ["One.\n\nTwo.\n"]


def test_tables_among_plain_files_are_records(tmp_path):
    write_file(tmp_path / "a.jsonl", '"One."\n"Two."\n')
    write_file(tmp_path / "readme.md", "Three.\n\nFour.")
    assert texts_of(tmp_path) == ["One.", "Two.", "Three.", "Four."]


def test_order_is_that_of_the_bytes_of_relative_paths(tmp_path):
    names = ["b.txt", "a/z.txt", "a.txt", "é.txt", "B.txt", "a-b.txt"]
    for name in names:
        write_file(tmp_path / name, name)
    assert [document.id for document in open_documents(tmp_path)] == sorted(names, key=os.fsencode)


def test_hidden_and_foreign_files_links_and_pipes_are_passed_over(tmp_path):
    for name in ["a.txt", ".hidden.txt", ".git/b.txt", "__MACOSX/c.txt", "photo.png", "code.py", "d.parquet.gz"]:
        write_file(tmp_path / name, "One.")
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
    write_file(tmp_path / "a.txt", "One.")
    write_file(tmp_path / "shut" / "b.txt", "Two.")
    scandir = os.scandir

    def refuse(path):
        if path == tmp_path / "shut":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    found = open_documents(tmp_path)
    assert len(list(found)) == 1 and found.problems == [Problem("shut", 0, "Permission denied")]


def test_a_file_that_went_away_is_a_problem(tmp_path):
    write_file(tmp_path / "a.txt", "One.")
    gone = write_file(tmp_path / "b.txt", "Two.")
    found = open_documents(tmp_path)
    gone.unlink()
    assert list(found) == [("a.txt", "One.")] and found.problems == [Problem("b.txt", 0, "No such file or directory")]


def test_ids_stay_as_they_are_when_a_document_is_damaged(tmp_path):
    whole = [document.id for document in open_documents(write_file(tmp_path / "a.txt", "one\n\ntwo\n\nthree"))]
    assert [document.id for document in open_documents(write_file(tmp_path / "a.txt", b"one\n\nt\xffo\n\nthree"))] == [
        whole[0],
        whole[2],
    ]


def test_the_usual_names_come_before_the_longest_column(tmp_path):
    rows = [{"title": "a much longer title", "Review": "short", "content": "body"}] * 2
    path = write_file(tmp_path / "a.jsonl", "\n".join(json.dumps(row) for row in rows))
    assert texts_of(path) == ["body", "body"] and texts_of(path, column="Review") == ["short", "short"]
    rows = [
        {"title": "a title", "story": "a long story"},
        {"title": "a title", "story": ""},
        {"title": "", "story": "long"},
    ]
    path = write_file(tmp_path / "a.jsonl", "\n".join(json.dumps(row) for row in rows))
    assert texts_of(path) == ["a long story", "long"]


def test_a_table_without_a_header_has_numbered_columns(tmp_path):
    path = write_file(tmp_path / "a.csv", "x,what a day,1\ny,what a night,2\n")
    assert texts_of(path) == ["what a day", "what a night"] and texts_of(path, column="0") == ["x", "y"]


def test_a_column_given_by_name_implies_a_header(tmp_path):
    path = write_file(tmp_path / "a.csv", "comment,stars\nOne.,5\n")
    assert texts_of(path) == ["comment", "One."] and texts_of(path, column="comment") == ["One."]


@pytest.mark.parametrize("make", [_as_jsonl, _as_csv, _as_parquet], ids=lambda make: make.__name__)
def test_a_column_that_no_file_has_is_refused_with_those_there_are(tmp_path, make):
    with pytest.raises(UsageError, match=r"no column 'txt'; did you mean 'text'\?\nit has: (n|id), text$"):
        open_documents(make(tmp_path / "a"), column="txt")


def test_a_file_without_the_column_that_others_have_is_a_problem(tmp_path):
    write_file(tmp_path / "a.csv", "id,story\n1,One.\n")
    write_file(tmp_path / "b.csv", "id,tale\n1,Two.\n2,Three.\n")
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
    found = open_documents(write_file(tmp_path / "a.txt", b"\xff\n" * 1500 + b"One."), rule="line")
    assert list(found) == [("a.txt#1500", "One.")]
    assert found.problem_count == 1500 and [problem.offset for problem in found.problems] == list(range(0, 2000, 2))


def test_problems_are_those_of_the_latest_iteration(tmp_path):
    path = write_file(tmp_path / "a.txt", b"\xff\n" + b"One.\n" + b"\xff\n" + b"Two.")
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


def test_a_description_says_how_much_there_is(tmp_path):
    folder = tmp_path / "corpus"
    write_file(folder / "a.txt", "x" * 1_200_000)
    assert open_documents(folder).describe() == f"folder {folder}/: 1 file, 1.2 MB"
    write_file(folder / "b.txt", "x" * 300)
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
        write_file(tmp_path / name, content)
    found = open_documents(tmp_path)
    names = ["a.txt", "b.txt", "c.txt", "e.csv#0", "e.csv#1"]
    assert [document.id for document in found.with_blank()] == names and len(found.problems) == 1
    assert [document.id for document in found] == ["a.txt", "e.csv#0"]
    lines = open_documents(write_file(tmp_path / "f.txt", "One.\n\n \nTwo.\n"), rule="line")
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
    assert len(texts_of(table, rule="record")) == 3
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="neither a file nor a folder"):
        open_documents(tmp_path / "pipe")


def test_nothing_to_read_says_what_was_there_and_what_is_read(tmp_path):
    with pytest.raises(DataError, match=r"no documents in folder .*: no files at all\nallowed: \.txt .*\.parquet"):
        open_documents(tmp_path)
    write_file(tmp_path / "a.pdf", "x")
    with pytest.raises(DataError, match=r"no documents in folder .*: \.pdf 1\nallowed:"):
        open_documents(tmp_path)
    empty = write_file(tmp_path / "a.txt", "")
    for data, message in [(tmp_path, "it is empty"), (empty, "it is empty"), ([], "0 texts"), ([" ", ""], "2 texts")]:
        with pytest.raises(DataError, match=f"no documents in .*{message}"):
            open_documents(data)


def test_a_folder_of_images_is_sent_to_the_image_methods(tmp_path):
    for name in ("cats/a.png", "cats/b.jpg", "Thumbs.db"):
        write_file(tmp_path / name, "x")
    with pytest.raises(DataError, match="look like images: use an image method such as simclr"):
        open_documents(tmp_path)


def test_a_file_of_another_suffix_is_read_as_plain_text(tmp_path):
    assert texts_of(write_file(tmp_path / "code.py", "a = 1\n\nb = 2\n")) == ["a = 1", "b = 2"]
    assert texts_of(write_file(tmp_path / "log.gz", gzip.compress(b"a = 1\n\nb = 2\n"))) == ["a = 1", "b = 2"]
