"""Documents become the same files however often a build is cut off, and nothing else is touched."""

import json
import os

import pytest
from tokenizers import Tokenizer, models

from selfstudy.errors import DataError, EnvironmentFault, FileRefusedError, UsageError
from selfstudy.text.documents import Document
from selfstudy.text.token_build import is_held_out
from selfstudy.text.token_store import TokenStore, read_manifest
from selfstudy.text.tokenizer import hash_fraction
from tests.text.token_stores import (
    DOCUMENTS,
    all_ids,
    build,
    contents,
    damage,
    encoded,
    split,
    tokenizer_of,
)

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")


class _Failing:
    """Documents whose reading fails after a given number, in the iteration that gets that far."""

    def __init__(self, good):
        self.good = good

    def __iter__(self):
        yield from DOCUMENTS[: self.good]
        raise OSError("the disk was pulled out")


def _word_level(size):
    names = ["[UNK]", *(f"w{number}" for number in range(1, size - 1)), "[EOS]"]
    return Tokenizer(models.WordLevel({name: number for number, name in enumerate(names)}, unk_token="[UNK]"))


@pytest.mark.parametrize(("size", "dtype", "width"), [(2**16, "<u2", 2), (2**16 + 1, "<u4", 4)])
def test_ids_take_two_bytes_up_to_65536_entries_and_four_beyond(tmp_path, size, dtype, width):
    documents = [Document(str(number), "w1") for number in range(4)]
    store = build(tmp_path, documents, _word_level(size), held_out=0.5)
    assert store.dtype == dtype
    assert all_ids(store.train) == [1, size - 1] * store.train.documents
    assert (tmp_path / "train-00000.bin").stat().st_size == 2 * width * store.train.documents


def test_the_split_depends_on_ids_alone(tmp_path):
    forward, backward = build(tmp_path / "a"), build(tmp_path / "b", DOCUMENTS[::-1])
    assert all_ids(backward.held_out) == encoded(split(DOCUMENTS)[1][::-1])
    assert len(forward.held_out) == len(backward.held_out)
    assert [is_held_out(document.id, 0.3) for document in DOCUMENTS].count(True) == forward.held_out.documents


@pytest.mark.parametrize(("share", "held"), [(1e-9, 1), (1 - 1e-9, 59)])
def test_a_part_that_would_be_empty_gets_the_document_next_in_line(tmp_path, share, held):
    store = build(tmp_path, held_out=share)
    ordered = sorted(DOCUMENTS, key=lambda document: hash_fraction(document.id))
    assert set(all_ids(store.held_out)) == set(encoded(ordered[:held]))
    assert (store.held_out.documents, store.train.documents) == (held, 60 - held)
    alone, stream = (ordered[0], store.held_out) if held == 1 else (ordered[-1], store.train)
    assert all_ids(stream) == encoded([alone])


def test_a_held_out_corpus_given_apart_is_held_out_whole(tmp_path):
    store = build(tmp_path, DOCUMENTS[:1], held_out_documents=DOCUMENTS[1:30])
    assert all_ids(store.train) == encoded(DOCUMENTS[:1])
    assert all_ids(store.held_out) == encoded(DOCUMENTS[1:30])


def test_one_document_cannot_be_split(tmp_path):
    with pytest.raises(DataError, match="only one document.*\n.*choose another rule"):
        build(tmp_path, DOCUMENTS[:1])


@pytest.mark.parametrize(("documents", "apart"), [([], None), ([], DOCUMENTS), (DOCUMENTS, [])])
def test_an_empty_part_is_refused(tmp_path, documents, apart):
    with pytest.raises(DataError, match="there are no documents"):
        build(tmp_path, documents, held_out_documents=apart)


@pytest.mark.parametrize("share", [0, 1, -0.1, float("nan")])
def test_a_share_that_splits_nothing_is_refused(tmp_path, share):
    with pytest.raises(UsageError, match="held-out share"):
        build(tmp_path, held_out=share)


def test_an_iterator_is_refused_since_it_is_read_twice(tmp_path):
    with pytest.raises(UsageError, match="can be read only once"):
        build(tmp_path, iter(DOCUMENTS))


def test_a_tokenizer_without_an_end_of_text_is_refused(tmp_path):
    with pytest.raises(UsageError, match="no entry for 'eos'"):
        build(tmp_path, tokenizer=Tokenizer(models.WordLevel({"a": 0}, unk_token="a")))


def test_a_tokenizer_that_fails_on_a_text_is_named(tmp_path):
    with pytest.raises(UsageError, match="the tokenizer fails on this text"):
        build(tmp_path, tokenizer=Tokenizer(models.WordLevel({"[EOS]": 0}, unk_token="x")))


def test_settings_for_batches_in_a_loaded_tokenizer_change_nothing(tmp_path):
    cutting = tokenizer_of()
    cutting.enable_truncation(2)
    cutting.enable_padding(length=20)
    build(tmp_path / "a", tokenizer=cutting)
    build(tmp_path / "b")
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


@pytest.mark.parametrize("limits", [(50, 1000), (10**6, 3)])
def test_batches_and_cuts_do_not_show_in_the_files(tmp_path, monkeypatch, limits):
    long = [*DOCUMENTS[:30], Document("long", " ".join(document.text for document in DOCUMENTS)), *DOCUMENTS[30:]]
    build(tmp_path / "a", long)
    monkeypatch.setattr("selfstudy.text.token_build._BATCH_CHARACTERS", limits[0])
    monkeypatch.setattr("selfstudy.text.token_build._PIECE_CHARACTERS", 30)
    monkeypatch.setattr("selfstudy.text.token_build._BATCH_DOCUMENTS", limits[1])
    build(tmp_path / "b", long)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


@pytest.mark.parametrize("good", [8, 23, 41, 59])
def test_a_build_cut_off_while_reading_continues_to_the_same_files(tmp_path, monkeypatch, good):
    monkeypatch.setattr("selfstudy.text.token_build._BATCH_DOCUMENTS", 3)
    build(tmp_path / "whole")
    for points in ([good], [good // 2, good, good]):
        folder = tmp_path / f"cut-{len(points)}"
        for point in points:
            with pytest.raises(OSError, match="pulled out"):
                build(folder, _Failing(point))
        assert not read_manifest(folder).complete
        build(folder)
        assert contents(folder) == contents(tmp_path / "whole")


def test_a_shard_ends_with_the_document_that_brings_it_to_its_size(tmp_path):
    sizes = [len(encoded([document])) for document in DOCUMENTS[:2]]
    for more, shards in ((0, [1, 1]), (1, [2])):
        apart = {"held_out_documents": DOCUMENTS[2:3], "shard_tokens": sizes[0] + more}
        build(tmp_path / f"{more}", DOCUMENTS[:2], **apart)
        assert [shard.documents for shard in read_manifest(tmp_path / f"{more}").train] == shards


def test_finished_shards_are_not_written_again(tmp_path, monkeypatch):
    monkeypatch.setattr("selfstudy.text.token_build._BATCH_DOCUMENTS", 3)
    with pytest.raises(OSError, match="pulled out"):
        build(tmp_path, _Failing(50))
    done = json.loads((tmp_path / "manifest.json").read_text())
    names = [shard["name"] for shard in done["train"] + done["heldout"]]
    before = {name: (tmp_path / name).stat().st_ino for name in names}
    build(tmp_path)
    assert len(names) > 3
    assert {name: (tmp_path / name).stat().st_ino for name in names} == before


def test_a_build_cut_off_at_any_write_continues_to_the_same_files(tmp_path, monkeypatch):
    build(tmp_path / "whole", shard_tokens=400)
    sync, cut = os.fsync, 0
    while True:
        folder, calls = tmp_path / f"cut-{cut}", iter(range(cut + 1))

        def failing(handle, calls=calls, limit=cut):
            if next(calls, limit) == limit:
                raise OSError(28, "No space left on device")
            sync(handle)

        monkeypatch.setattr(os, "fsync", failing)
        try:
            build(folder, shard_tokens=400)
            break
        except EnvironmentFault as fault:
            assert "No space left on device" in str(fault)
        monkeypatch.setattr(os, "fsync", sync)
        build(folder, shard_tokens=400)
        assert contents(folder) == contents(tmp_path / "whole")
        cut += 1
    assert cut > 15


def test_what_a_killed_build_left_half_written_is_gone_after_the_next(tmp_path):
    build(tmp_path / "whole")
    with pytest.raises(OSError, match="pulled out"):
        build(tmp_path / "cut", _Failing(50))
    for name in ("train-00007.bin.tmp", ".train-00007.bin.tmp-77", ".counts.bin.tmp-77"):
        (tmp_path / "cut" / name).write_bytes(b"half")
    build(tmp_path / "cut")
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")


def test_a_finished_store_is_opened_without_reading_a_document(tmp_path):
    built = build(tmp_path)
    before = contents(tmp_path)
    again = build(tmp_path, _Failing(0))
    assert isinstance(again, TokenStore) and all_ids(again.train) == all_ids(built.train)
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    "change",
    [{"fingerprint": "g"}, {"held_out": 0.4}, {"tokenizer": "char"}, {"shard_tokens": 90}],
    ids=lambda change: next(iter(change)),
)
def test_a_store_of_something_else_is_built_again(tmp_path, change):
    change = {name: tokenizer_of(value) if name == "tokenizer" else value for name, value in change.items()}
    build(tmp_path / "a", shard_tokens=20)
    (tmp_path / "a" / "train-notes.txt").write_text("mine")
    build(tmp_path / "a", **change)
    build(tmp_path / "b", **change)
    assert contents(tmp_path / "a") == contents(tmp_path / "b") | {"train-notes.txt": b"mine"}


@pytest.mark.parametrize("way", ["missing", "short"])
def test_a_damaged_store_is_built_again(tmp_path, way):
    build(tmp_path)
    before = contents(tmp_path)
    damage(tmp_path / "train-00001.bin", way)
    build(tmp_path)
    assert contents(tmp_path) == before


def test_a_shard_damaged_before_the_build_went_on_is_found_by_its_digest(tmp_path, monkeypatch):
    monkeypatch.setattr("selfstudy.text.token_build._BATCH_DOCUMENTS", 3)
    build(tmp_path / "whole")
    with pytest.raises(OSError, match="pulled out"):
        build(tmp_path / "cut", _Failing(50))
    damage(tmp_path / "cut" / "train-00000.bin", "flipped")
    build(tmp_path / "cut")
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")


def test_another_programs_shards_are_left_alone(tmp_path):
    (tmp_path / "train-00000.bin").write_bytes(b"theirs")
    with pytest.raises(FileRefusedError, match=r"train-00000\.bin without a manifest\.json\n.*choose another folder"):
        build(tmp_path)
    assert contents(tmp_path) == {"train-00000.bin": b"theirs"}
