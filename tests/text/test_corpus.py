"""A corpus on the way from files to tokens: what a document is, what is held out, what is found again."""

import io

import pytest
from rich.console import Console

from selfstudy.errors import DataError, UsageError
from selfstudy.text.config import TextDataConfig
from selfstudy.text.corpus import open_corpus, take_census
from selfstudy.text.documents import Document


def _open(data, cache, *, pieces=False, console=None, **settings):
    config = TextDataConfig(path=str(data), **{"tokenizer": "char", **settings})
    return open_corpus(data, config, pieces=pieces, cache=cache, console=console or Console(quiet=True))


def _text_of(corpus, stream):
    ids = stream.read(0, len(stream)).tolist()
    return "".join("|" if i == corpus.special.eos else corpus.tokenizer.decode([i]) for i in ids)


@pytest.fixture
def one(tmp_path):
    """One plain text of 100 characters in two paragraphs."""
    file = tmp_path / "one.txt"
    file.write_text("a" * 49 + "\n\n" + "b" * 49)
    return file


def test_one_text_is_one_document_whose_end_is_held_out_to_the_character(one, tmp_path):
    corpus = _open(one, tmp_path / "cache", held_out=0.1)
    assert _text_of(corpus, corpus.store.train) == "a" * 49 + "\n\n" + "b" * 39 + "|"
    assert _text_of(corpus, corpus.store.held_out) == "b" * 10 + "|"
    assert corpus.held_out == "the last 10% of the characters" and corpus.census.documents == 1


def test_for_methods_that_learn_from_documents_one_text_has_paragraphs(one, tmp_path):
    corpus = _open(one, tmp_path / "cache", pieces=True)
    assert corpus.census.documents == 2 and corpus.store.train.documents == corpus.store.held_out.documents == 1


def test_a_folder_has_a_document_in_every_file_and_a_share_of_them_is_held_out(tmp_path):
    (tmp_path / "texts").mkdir()
    for number in range(40):
        (tmp_path / "texts" / f"{number}.txt").write_text(f"text {number}")
    corpus = _open(tmp_path / "texts", tmp_path / "cache", held_out=0.25)
    assert corpus.store.train.documents + corpus.store.held_out.documents == corpus.census.documents == 40
    assert 4 <= corpus.store.held_out.documents <= 16


@pytest.mark.parametrize(
    ("files", "held_out", "column"),
    [
        ({"a.csv": "title,Review\n1,red ball\n2,blue box\n"}, None, "Review"),
        ({"a.tsv": "1\tred ball\n2\tblue box\n"}, None, "1"),
        ({"a.csv": "text\nred\nblue\n", "b.jsonl": '"green"\n{"text": "red"}\n'}, None, "text"),
        ({"a.csv": "text\nred\nblue\n", "b.csv": "body\ngreen\n"}, None, None),
        ({"a.csv": "text\nred\nblue\n"}, {"c.csv": "text\ngreen\n"}, "text"),
        ({"a.csv": "text\nred\nblue\n"}, {"c.csv": "body\ngreen\n"}, None),
        ({"a.csv": "text\nred\nblue\n"}, {"c.txt": "green\n"}, None),
        ({"a.txt": "red\n\nblue\n"}, None, None),
    ],
    ids=[
        "named",
        "no header",
        "strings next to it",
        "two names",
        "same held out",
        "other held out",
        "plain",
        "no table",
    ],
)
def test_the_column_is_told_where_all_texts_come_from_one_and_asking_for_it_changes_nothing(
    tmp_path, files, held_out, column
):
    for folder, contents in (("data", files), ("apart", held_out or {})):
        (tmp_path / folder).mkdir()
        for name, content in contents.items():
            (tmp_path / folder / name).write_text(content)
    apart = {"held_out": str(tmp_path / "apart")} if held_out else {}
    corpus = _open(tmp_path / "data", tmp_path / "cache", **apart)
    assert corpus.column == column
    if column is not None:
        assert _open(tmp_path / "data", tmp_path / "cache", column=column, **apart).census == corpus.census


def test_held_out_text_may_be_given_apart(one, tmp_path):
    other = tmp_path / "other.txt"
    other.write_text("ba" * 5)
    corpus = _open(one, tmp_path / "cache", held_out=str(other))
    assert len(corpus.store.train) == 101 and _text_of(corpus, corpus.store.held_out) == "ba" * 5 + "|"


def test_held_out_text_is_cut_into_documents_as_the_other_is(one, tmp_path):
    other = tmp_path / "other.txt"
    other.write_text("ba\n\nab")
    corpus = _open(one, tmp_path / "cache", held_out=str(other))
    assert _text_of(corpus, corpus.store.held_out) == "ba\n\nab|"
    corpus = _open(one, tmp_path / "cache", held_out=str(other), pieces=True)
    assert _text_of(corpus, corpus.store.held_out) == "ba|ab|"


def test_a_tokenizer_file_is_known_by_what_it_holds(one, tmp_path):
    file = tmp_path / "tokenizer.json"
    first = _open(one, tmp_path / "cache")
    file.write_text(first.tokenizer.to_str())
    given = _open(one, tmp_path / "cache", tokenizer=str(file))
    file.write_text(_open(one, tmp_path / "cache", tokenizer="byte").tokenizer.to_str())
    changed = _open(one, tmp_path / "cache", tokenizer=str(file))
    assert given.store.folder != changed.store.folder
    assert given.store.tokenizer_sha256 == first.store.tokenizer_sha256 != changed.store.tokenizer_sha256


def test_a_corpus_is_tokenised_once_and_again_when_it_or_its_settings_change(one, tmp_path):
    cache = tmp_path / "cache"
    first = _open(one, cache).store.folder
    assert _open(one, cache).store.folder == first
    assert _open(one, cache, tokenizer="byte").store.folder != first
    assert _open(one, cache, held_out=0.2).store.folder != first
    one.write_text(one.read_text().replace("b", "c"))  # the same size
    assert _open(one, cache).store.folder != first


def test_the_tokenizer_learns_nothing_from_what_is_held_out(tmp_path):
    (tmp_path / "one.txt").write_text("a" * 90 + "z" * 10)
    corpus = _open(tmp_path / "one.txt", tmp_path / "cache", held_out=0.1)
    assert corpus.tokenizer.token_to_id("z") is None and corpus.tokenizer.token_to_id("a") is not None


def test_skipped_text_is_named_with_file_and_byte(tmp_path):
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "bad.txt").write_bytes(b"good \xff bad")
    for number in range(3):
        (tmp_path / "texts" / f"{number}.txt").write_text("some text")
    out = io.StringIO()
    _open(tmp_path / "texts", tmp_path / "cache", held_out=0.4, console=Console(file=out, width=200))
    assert "3 documents (file), 1 skipped" in out.getvalue() and "bad.txt at byte 5" in out.getvalue()
    assert "ln V" in out.getvalue()


def test_a_corpus_without_text_and_settings_that_do_not_fit_are_refused(one, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "a.txt").write_text("  \n")
    with pytest.raises(DataError, match="has no usable text"):
        _open(tmp_path / "empty", tmp_path / "cache")
    with pytest.raises(UsageError, match="data.held_out 1.5\ngive a number above 0 and below 1"):
        _open(one, tmp_path / "cache", held_out=1.5)
    _open(one, tmp_path / "cache")
    kept = next((tmp_path / "cache").glob("*/tokenizer.json"))
    with pytest.raises(UsageError, match="vocab_size cannot be chosen for a given tokenizer"):
        _open(one, tmp_path / "cache", tokenizer=str(kept), vocab_size=100)


def test_the_census_counts_and_its_digest_follows_every_character():
    documents = [Document("a", "äb"), Document("b", "c")]
    census = take_census(documents)
    assert census[:2] == (2, 4) and take_census(documents) == census
    assert take_census([Document("a", "äb"), Document("b", "d")]).sha256 != census.sha256
    assert take_census([Document("a", "äbc"), Document("b", "")]).sha256 != census.sha256


def test_held_out_text_is_read_from_the_column_that_is_named(tmp_path):
    (tmp_path / "data.csv").write_text("body,text\ndata,nothing\ndatas,none\n")
    (tmp_path / "other.csv").write_text("body,text\nad,at\nda,as\n")
    corpus = _open(tmp_path / "data.csv", tmp_path / "cache", held_out=str(tmp_path / "other.csv"), column="body")
    assert _text_of(corpus, corpus.store.train) == "data|datas|" and corpus.column == "body"
    assert _text_of(corpus, corpus.store.held_out) == "ad|da|"
