import gzip
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from selfstudy.errors import DataError, UsageError
from selfstudy.text.labelled import read_labelled_texts, read_pairs

TEXTS = ["good day", '"good" night', "so bad", "bad luck", "a fine one"]
NAMES = ["pos", "pos", "neg", "neg", "pos"]
ROWS = list(zip(NAMES, TEXTS, strict=True))


def _write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def _as_bare_tsv(root):
    return _write(root / "a.tsv", "".join(f"{name}\t{text}\n" for name, text in ROWS))


def _as_reversed_tsv(root):
    return _write(root / "b.tsv", "".join(f"{number}\t{text}\t{name}\n" for number, (name, text) in enumerate(ROWS)))


def _as_csv(root):
    cells = [f'{name},"{text.replace(chr(34), chr(34) * 2)}"' for name, text in ROWS]
    return _write(root / "a.csv", "\n".join(["Sentiment,sentence", *cells]))


def _as_jsonl_gz(root):
    lines = [json.dumps({"story": text, "category": name}) for name, text in ROWS]
    return _write(root / "a.jsonl.gz", gzip.compress("\n".join(lines).encode()))


def _as_parquet(root):
    pq.write_table(pa.table({"label": pa.array(NAMES).dictionary_encode(), "text": TEXTS}), root / "a.parquet")
    return root / "a.parquet"


def _as_folders(root):
    for number, (name, text) in enumerate(ROWS):
        _write(root / "tree" / name / f"{number}.txt", text)
    _write(root / "tree" / "readme.md", "not a text of any class")
    return root / "tree"


MAKERS = [_as_bare_tsv, _as_reversed_tsv, _as_csv, _as_jsonl_gz, _as_parquet, _as_folders]


@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
def test_every_layout_gives_the_same_texts_and_labels(tmp_path, make):
    found, _ = read_labelled_texts(make(tmp_path))
    assert found.classes == ["neg", "pos"] and found.labels.dtype == np.int64
    assert found.labels.shape == (5,) and isinstance(found.texts, list)
    named = [(found.classes[label], text) for label, text in zip(found.labels, found.texts, strict=True)]
    assert sorted(named) == sorted(ROWS)
    if make is not _as_folders:
        assert named == ROWS


def test_numbers_and_truth_values_are_names_of_classes(tmp_path):
    lines = [json.dumps({"text": "a", "label": label}) for label in (10, 2, True, "2")]
    found, _ = read_labelled_texts(_write(tmp_path / "a.jsonl", "\n".join(lines)))
    assert found.classes == ["10", "2", "True"] and found.labels.tolist() == [0, 1, 2, 1]


def test_columns_can_be_named_or_numbered(tmp_path):
    path = _write(tmp_path / "a.csv", "title,stars,remark\none,5,so good\ntwo,1,so bad\n")
    found, _ = read_labelled_texts(path, text_column="remark", label_column="stars")
    assert found == (["so good", "so bad"], pytest.approx([1, 0]), ["1", "5"])
    path = _as_bare_tsv(tmp_path)
    swapped, _ = read_labelled_texts(path, text_column="0", label_column="1")
    assert swapped.texts == NAMES and len(swapped.classes) == 5


def test_a_label_that_reads_like_the_longest_text_is_not_taken_for_it(tmp_path):
    rows = "".join(f"a very long name of a class {number % 2}\tx{number}\n" for number in range(6))
    found, _ = read_labelled_texts(_write(tmp_path / "a.tsv", rows))
    assert found.texts == [f"x{number}" for number in range(6)] and found.labels.tolist() == [0, 1] * 3


@pytest.mark.parametrize(
    "content, message",
    [
        (
            "a\tb\nc\td\n",
            r"no column that is known to hold labels: 0, 1\nrename the column to label .known: label, class",
        ),
        ("text\tstars\na\t1\nb\t1\nc\t2\n", r"no column that is known to hold labels: text, stars"),
    ],
)
def test_a_label_column_that_cannot_be_told_is_asked_for(tmp_path, content, message):
    with pytest.raises(UsageError, match=message):
        read_labelled_texts(_write(tmp_path / "a.tsv", content))


def test_a_column_that_is_not_there_is_refused_with_those_there_are(tmp_path):
    path = _write(tmp_path / "a.tsv", "text\tlabel\na\t1\nb\t2\n")
    with pytest.raises(UsageError, match=r"no column 'labl'; did you mean 'label'\?\nit has: text, label"):
        read_labelled_texts(path, label_column="labl")
    with pytest.raises(UsageError, match=r"no column 'txt'; did you mean 'text'\?"):
        read_labelled_texts(path, text_column="txt")
    with pytest.raises(UsageError, match="no column of text but 'label'"):
        read_labelled_texts(_write(tmp_path / "b.jsonl", '{"label": "a"}\n{"label": "b"}'))


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("a.tsv", b"text\tlabel\na\t1\nb\xff\t2\n", r"byte 16: not UTF-8"),
        ("a.tsv", b"text\tlabel\na\t1\nb\n", r"byte 15: a row of 1 cells, the first has 2"),
        ("a.tsv", b"text\tlabel\na\t1\n \t2\n", r"row 1 \(from 0\): 'text' is ' ', a text is needed"),
        ("a.tsv", b"text\tlabel\na\t1\nb\t\n", r"row 1 \(from 0\): 'label' is '', a label is needed"),
        ("a.tsv", b"text\tlabel\na\t1\nb\t1\n", r"one class, '1'\nat least two are needed"),
        ("a.tsv", b"text\tlabel\n", "has no rows"),
        ("a.jsonl", b'{"text": "a", "label": 1}\n{"text": "b"}', r"row 1 .*'label' is None, a label is needed"),
        ("a.jsonl", b'{"text": "a", "label": NaN}\n', r"row 0 .*'label' is nan, a label is needed"),
        ("a.jsonl", b'{"text": "a", "label": 1}\n"b"', r"a string without a label"),
        ("a.jsonl", b"x\n" * 5, r"cannot be used to evaluate:\n(.*\n){3}  … and 2 more"),
    ],
)
def test_damage_is_named_and_nothing_is_returned(tmp_path, name, content, message):
    with pytest.raises(DataError, match=message):
        read_labelled_texts(_write(tmp_path / name, content))


def test_damage_in_class_folders_is_named(tmp_path):
    root = _as_folders(tmp_path)
    _write(root / "pos" / "x.txt", b"a\xff")
    _write(root / "pos" / "y.txt", "")
    with pytest.raises(DataError, match=r"  pos/x\.txt, byte 1: not UTF-8: invalid start byte\n  pos/y\.txt: empty"):
        read_labelled_texts(root)
    _write(root / "loose.txt", "a")
    with pytest.raises(DataError, match=r"texts outside class folders: loose\.txt"):
        read_labelled_texts(root)
    with pytest.raises(DataError, match=r"outside class folders"):
        read_labelled_texts(root / "neg")


def test_what_has_no_columns_is_refused(tmp_path):
    for read in (read_labelled_texts, read_pairs):
        with pytest.raises(UsageError, match="does not exist"):
            read(tmp_path / "nowhere.tsv")
        with pytest.raises(UsageError, match="is plain text, which has no columns"):
            read(_write(tmp_path / "a.txt", "a"))


@pytest.mark.parametrize(
    "name, content",
    [
        ("a.tsv", 'score\tsentence1\tsentence2\n5\ta "b\t2\n0.5\tc\td\n'),
        ("a.csv", 'id,sentence2,sentence1,label\n1,2,"a ""b",5.0\n2,d,c,.5\n'),
        ("a.tsv", 'a "b\t2\t5\nc\td\t0.5\n'),
        ("a.tsv", '5\ta "b\t2\n0.5\tc\td\n'),
    ],
    ids=["tsv", "csv", "score last", "score first"],
)
def test_pairs_are_read_with_and_without_a_header(tmp_path, name, content):
    found = read_pairs(_write(tmp_path / name, content))
    assert (found.first, found.second) == (['a "b', "c"], ["2", "d"])
    assert found.scores.dtype == np.float64 and found.scores.tolist() == [5.0, 0.5]


@pytest.mark.parametrize("content", ["a\tb\n", "a\tb\tc\n", "1\tb\t2\n", "sentence1\tsentence2\na\tb\n"])
def test_columns_of_pairs_that_cannot_be_told_are_refused(tmp_path, content):
    with pytest.raises(UsageError, match="needed are sentence1, sentence2 and score"):
        read_pairs(_write(tmp_path / "a.tsv", content))


@pytest.mark.parametrize("score", ["high", "nan", "inf", ""])
def test_a_score_that_is_not_a_number_is_named(tmp_path, score):
    path = _write(tmp_path / "a.tsv", f"sentence1\tsentence2\tscore\na\tb\t1\nc\td\t{score}\n")
    with pytest.raises(DataError, match=rf"row 1 \(from 0\): the score '{score}' is not a finite number"):
        read_pairs(path)


def test_an_empty_sentence_of_a_pair_is_named(tmp_path):
    with pytest.raises(DataError, match=r"row 0 \(from 0\): 'sentence2' is '', a text is needed"):
        read_pairs(_write(tmp_path / "a.tsv", "sentence1\tsentence2\tscore\na\t\t1\n"))


@pytest.mark.parametrize("parts", [("train", "test"), ("Training", "val")])
def test_the_train_and_the_test_part_of_a_folder_are_read_apart(tmp_path, parts):
    for part in parts:
        for name in ("pos", "neg"):
            _write(tmp_path / part / name / "1.txt", f"{part} {name}")
    _write(tmp_path / "readme.txt", "as the movie reviews of aclImdb are laid out")
    train, test = read_labelled_texts(tmp_path)
    assert train == ([f"{parts[0]} neg", f"{parts[0]} pos"], pytest.approx([0, 1]), ["neg", "pos"])
    assert test == ([f"{parts[1]} neg", f"{parts[1]} pos"], pytest.approx([0, 1]), ["neg", "pos"])
    alone, other = read_labelled_texts(tmp_path / parts[0])
    assert alone.texts == train.texts and other is None


def test_damage_in_a_part_is_named_with_the_part(tmp_path):
    for name in ("train/pos/1", "train/neg/1", "test/pos/1", "test/neg/1"):
        _write(tmp_path / f"{name}.txt", "a")
    _write(tmp_path / "test" / "pos" / "2.txt", "")
    with pytest.raises(DataError, match=r"folder .*test cannot be used to evaluate:\n  test/pos/2\.txt: empty"):
        read_labelled_texts(tmp_path)
    (tmp_path / "test" / "pos" / "2.txt").unlink()
    _write(tmp_path / "train" / "loose.txt", "a")
    with pytest.raises(DataError, match=r"folder .*train has texts outside class folders: loose\.txt\nlabels are"):
        read_labelled_texts(tmp_path)


def test_a_class_may_be_called_test_where_there_is_no_train(tmp_path):
    for name in ("test", "essay"):
        _write(tmp_path / name / "1.txt", name)
    found, other = read_labelled_texts(tmp_path)
    assert found.classes == ["essay", "test"] and other is None


@pytest.mark.parametrize("read", [read_labelled_texts, read_pairs])
def test_texts_given_in_python_have_no_labels_and_are_refused(read):
    with pytest.raises(UsageError, match="cannot read labelled texts from list\nallowed: the path"):
        read(["good day", "so bad"])
