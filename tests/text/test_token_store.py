import copy
import hashlib
import json
import os
from functools import cache

import numpy as np
import pytest
from tokenizers import Tokenizer, models

from selfstudy.errors import DataError, EnvironmentFault, FileRefusedError, UsageError
from selfstudy.text.documents import Document
from selfstudy.text.token_build import build_store, is_held_out
from selfstudy.text.token_store import TokenStore, damage_in, read_manifest
from selfstudy.text.tokenizer import digest, hash_fraction, plain, train_tokenizer

WORDS = ["the", "quick", "brown", "fox", "jumps", "é😀", "\n", "[EOS]", "over\r\n", "日本"]
DOCUMENTS = [
    Document(f"folder/a.txt#{number}", " ".join(WORDS[(number * step) % 10] for step in range(1, 4 + number % 9)))
    for number in range(60)
]
EOS = 5


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch):
    """Losing power cannot be tested here, and hundreds of syncs take seconds."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


@cache
def _json(kind):
    texts = [document.text for document in DOCUMENTS]
    return train_tokenizer(texts, kind=kind, vocab_size=300 if kind == "bpe" else "auto", corpus_bytes=1).to_str()


def _tokenizer(kind="bpe"):
    return Tokenizer.from_str(_json(kind))


def _build(folder, documents=DOCUMENTS, tokenizer=None, **options):
    settings = {"held_out": 0.3, "shard_tokens": 150, "fingerprint": "f"} | options
    return build_store(documents, tokenizer or _tokenizer(), folder, **settings)


def _encoded(documents, tokenizer=None):
    """The stream, document by document."""
    encode = plain(tokenizer or _tokenizer()).encode
    return [number for document in documents for number in [*encode(document.text, add_special_tokens=False).ids, EOS]]


def _split(documents, share=0.3):
    held = [document for document in documents if hash_fraction(document.id) < share]
    return [document for document in documents if document not in held], held


def _contents(folder):
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


def _all(stream):
    return stream.read(0, len(stream)).tolist()


class _Failing:
    """Documents whose reading fails after so many of them, in the iteration that gets so far."""

    def __init__(self, good):
        self.good = good

    def __iter__(self):
        yield from DOCUMENTS[: self.good]
        raise OSError("the disk was pulled out")


@pytest.mark.parametrize("kind", ["bpe", "wordpiece", "char", "byte"])
def test_the_streams_are_the_documents_one_after_another(tmp_path, kind):
    tokenizer = _tokenizer(kind)
    store = _build(tmp_path / "store", tokenizer=tokenizer)
    for stream, documents in zip((store.train, store.held_out), _split(DOCUMENTS), strict=True):
        assert _all(stream) == _encoded(documents, tokenizer)
        assert stream.documents == len(documents) == _all(stream).count(EOS) > 5
        assert stream.text_bytes == sum(len(document.text.encode()) for document in documents)
    assert store.vocab_size == tokenizer.get_vocab_size()
    assert (store.tokenizer_sha256, store.fingerprint) == (digest(tokenizer), "f")


def test_any_part_of_a_stream_can_be_read_across_shards(tmp_path):
    stream = _build(tmp_path, shard_tokens=40).train
    whole = _all(stream)
    assert len(list(tmp_path.glob("train-*.bin"))) > 6
    for start in range(0, len(whole) + 1, 7):
        for count in (0, 1, 50, len(whole) - start):
            if start + count <= len(whole):
                part = stream.read(start, count)
                assert part.dtype == np.int64 and part.tolist() == whole[start : start + count]
    assert [block.tolist() for block in stream.blocks(100, 250)] == [whole[:100], whole[100:200], whole[200:250]]
    assert np.concatenate(list(stream.blocks(33))).tolist() == whole


@pytest.mark.parametrize(("start", "count"), [(-1, 2), (0, 10**9), (5, -1)])
def test_reading_outside_the_stream_is_an_error(tmp_path, start, count):
    with pytest.raises(IndexError, match="the stream has"):
        _build(tmp_path).train.read(start, count)


def test_what_is_read_is_a_copy_that_leaves_the_file_alone(tmp_path):
    store = _build(tmp_path)
    before = _contents(tmp_path)
    store.train.read(0, 10)[:] = 0
    assert _contents(tmp_path) == before


def test_few_shards_are_open_at_a_time_and_a_copied_stream_reads_the_same(tmp_path):
    stream = _build(tmp_path, shard_tokens=40).train
    whole = _all(stream)
    assert stream._mapped.cache_info().currsize == 4
    assert [block.tolist() for block in stream.blocks(50)][-1][-1] == whole[-1]
    assert stream._mapped.cache_info().currsize == 0  # mapped pages that were read count as this process's memory
    assert _all(copy.copy(stream)) == whole


def test_files_hold_plain_little_endian_ids(tmp_path):
    store = _build(tmp_path)
    raw = b"".join(content for name, content in _contents(tmp_path).items() if name.startswith("train-"))
    assert raw == b"".join(number.to_bytes(2, "little") for number in _all(store.train))
    assert store.dtype == "<u2"


def _word_level(size):
    names = ["[UNK]", *(f"w{number}" for number in range(1, size - 1)), "[EOS]"]
    return Tokenizer(models.WordLevel({name: number for number, name in enumerate(names)}, unk_token="[UNK]"))


@pytest.mark.parametrize(("size", "dtype", "width"), [(2**16, "<u2", 2), (2**16 + 1, "<u4", 4)])
def test_ids_take_two_bytes_up_to_65536_entries_and_four_beyond(tmp_path, size, dtype, width):
    documents = [Document(str(number), "w1") for number in range(4)]
    store = _build(tmp_path, documents, _word_level(size), held_out=0.5)
    assert store.dtype == dtype
    assert _all(store.train) == [1, size - 1] * store.train.documents
    assert (tmp_path / "train-00000.bin").stat().st_size == 2 * width * store.train.documents


def test_counts_are_those_of_the_training_stream(tmp_path):
    store = _build(tmp_path)
    assert store.counts().tolist() == [_all(store.train).count(number) for number in range(store.vocab_size)]


def test_the_split_depends_on_ids_alone(tmp_path):
    forward, backward = _build(tmp_path / "a"), _build(tmp_path / "b", DOCUMENTS[::-1])
    assert _all(backward.held_out) == _encoded(_split(DOCUMENTS)[1][::-1])
    assert len(forward.held_out) == len(backward.held_out)
    assert [is_held_out(document.id, 0.3) for document in DOCUMENTS].count(True) == forward.held_out.documents


@pytest.mark.parametrize(("share", "held"), [(1e-9, 1), (1 - 1e-9, 59)])
def test_a_part_that_would_be_empty_gets_the_document_next_in_line(tmp_path, share, held):
    store = _build(tmp_path, held_out=share)
    ordered = sorted(DOCUMENTS, key=lambda document: hash_fraction(document.id))
    assert set(_all(store.held_out)) == set(_encoded(ordered[:held]))
    assert (store.held_out.documents, store.train.documents) == (held, 60 - held)
    alone, stream = (ordered[0], store.held_out) if held == 1 else (ordered[-1], store.train)
    assert _all(stream) == _encoded([alone])


def test_a_held_out_corpus_given_apart_is_held_out_whole(tmp_path):
    store = _build(tmp_path, DOCUMENTS[:1], held_out_documents=DOCUMENTS[1:30])
    assert _all(store.train) == _encoded(DOCUMENTS[:1])
    assert _all(store.held_out) == _encoded(DOCUMENTS[1:30])


def test_one_document_cannot_be_split(tmp_path):
    with pytest.raises(DataError, match="only one document.*\n.*choose another rule"):
        _build(tmp_path, DOCUMENTS[:1])


@pytest.mark.parametrize(("documents", "apart"), [([], None), ([], DOCUMENTS), (DOCUMENTS, [])])
def test_an_empty_part_is_refused(tmp_path, documents, apart):
    with pytest.raises(DataError, match="there are no documents"):
        _build(tmp_path, documents, held_out_documents=apart)


@pytest.mark.parametrize("share", [0, 1, -0.1, float("nan")])
def test_a_share_that_splits_nothing_is_refused(tmp_path, share):
    with pytest.raises(UsageError, match="held-out share"):
        _build(tmp_path, held_out=share)


def test_an_iterator_is_refused_since_it_is_read_twice(tmp_path):
    with pytest.raises(UsageError, match="can be read only once"):
        _build(tmp_path, iter(DOCUMENTS))


def test_a_tokenizer_without_an_end_of_text_is_refused(tmp_path):
    with pytest.raises(UsageError, match="no entry for 'eos'"):
        _build(tmp_path, tokenizer=Tokenizer(models.WordLevel({"a": 0}, unk_token="a")))


def test_a_tokenizer_that_fails_on_a_text_is_named(tmp_path):
    with pytest.raises(UsageError, match="the tokenizer fails on this text"):
        _build(tmp_path, tokenizer=Tokenizer(models.WordLevel({"[EOS]": 0}, unk_token="x")))


def test_settings_for_batches_in_a_loaded_tokenizer_change_nothing(tmp_path):
    cutting = _tokenizer()
    cutting.enable_truncation(2)
    cutting.enable_padding(length=20)
    _build(tmp_path / "a", tokenizer=cutting)
    _build(tmp_path / "b")
    assert _contents(tmp_path / "a") == _contents(tmp_path / "b")


@pytest.mark.parametrize("limits", [(50, 1000), (10**6, 3)])
def test_batches_and_cuts_do_not_show_in_the_files(tmp_path, monkeypatch, limits):
    long = [*DOCUMENTS[:30], Document("long", " ".join(document.text for document in DOCUMENTS)), *DOCUMENTS[30:]]
    _build(tmp_path / "a", long)
    monkeypatch.setattr("selfstudy.text.token_build._BATCH_CHARACTERS", limits[0])
    monkeypatch.setattr("selfstudy.text.token_build._PIECE_CHARACTERS", 30)
    monkeypatch.setattr("selfstudy.text.token_build._BATCH_DOCUMENTS", limits[1])
    _build(tmp_path / "b", long)
    assert _contents(tmp_path / "a") == _contents(tmp_path / "b")


@pytest.mark.parametrize("good", [8, 23, 41, 59])
def test_a_build_cut_off_while_reading_continues_to_the_same_files(tmp_path, monkeypatch, good):
    monkeypatch.setattr("selfstudy.text.token_build._BATCH_DOCUMENTS", 3)
    _build(tmp_path / "whole")
    for points in ([good], [good // 2, good, good]):
        folder = tmp_path / f"cut-{len(points)}"
        for point in points:
            with pytest.raises(OSError, match="pulled out"):
                _build(folder, _Failing(point))
        assert not read_manifest(folder).complete
        _build(folder)
        assert _contents(folder) == _contents(tmp_path / "whole")


def test_finished_shards_are_not_written_again(tmp_path, monkeypatch):
    monkeypatch.setattr("selfstudy.text.token_build._BATCH_DOCUMENTS", 3)
    with pytest.raises(OSError, match="pulled out"):
        _build(tmp_path, _Failing(50))
    done = json.loads((tmp_path / "manifest.json").read_text())
    names = [shard["name"] for shard in done["train"] + done["heldout"]]
    before = {name: (tmp_path / name).stat().st_ino for name in names}
    _build(tmp_path)
    assert len(names) > 3
    assert {name: (tmp_path / name).stat().st_ino for name in names} == before


def test_a_build_cut_off_at_any_write_continues_to_the_same_files(tmp_path, monkeypatch):
    _build(tmp_path / "whole", shard_tokens=400)
    sync, cut = os.fsync, 0
    while True:
        folder, calls = tmp_path / f"cut-{cut}", iter(range(cut + 1))

        def failing(handle, calls=calls, limit=cut):
            if next(calls, limit) == limit:
                raise OSError(28, "No space left on device")
            sync(handle)

        monkeypatch.setattr(os, "fsync", failing)
        try:
            _build(folder, shard_tokens=400)
            break
        except EnvironmentFault as fault:
            assert "No space left on device" in str(fault)
        monkeypatch.setattr(os, "fsync", sync)
        _build(folder, shard_tokens=400)
        assert _contents(folder) == _contents(tmp_path / "whole")
        cut += 1
    assert cut > 15


def test_what_a_killed_build_left_half_written_is_gone_after_the_next(tmp_path):
    _build(tmp_path / "whole")
    with pytest.raises(OSError, match="pulled out"):
        _build(tmp_path / "cut", _Failing(50))
    for name in ("train-00007.bin.tmp", ".train-00007.bin.tmp-77", ".counts.bin.tmp-77"):
        (tmp_path / "cut" / name).write_bytes(b"half")
    _build(tmp_path / "cut")
    assert _contents(tmp_path / "cut") == _contents(tmp_path / "whole")


def test_a_finished_store_is_opened_without_reading_a_document(tmp_path):
    built = _build(tmp_path)
    before = _contents(tmp_path)
    again = _build(tmp_path, _Failing(0))
    assert isinstance(again, TokenStore) and _all(again.train) == _all(built.train)
    assert _contents(tmp_path) == before


@pytest.mark.parametrize(
    "change",
    [{"fingerprint": "g"}, {"held_out": 0.4}, {"tokenizer": "char"}, {"shard_tokens": 90}],
    ids=lambda change: next(iter(change)),
)
def test_a_store_of_something_else_is_built_anew(tmp_path, change):
    change = {name: _tokenizer(value) if name == "tokenizer" else value for name, value in change.items()}
    _build(tmp_path / "a", shard_tokens=20)
    (tmp_path / "a" / "train-notes.txt").write_text("mine")
    _build(tmp_path / "a", **change)
    _build(tmp_path / "b", **change)
    assert _contents(tmp_path / "a") == _contents(tmp_path / "b") | {"train-notes.txt": b"mine"}


def _damage(file, way):
    if way == "missing":
        file.unlink()
    elif way == "short":
        file.write_bytes(file.read_bytes()[:-1])
    else:
        raw = bytearray(file.read_bytes())
        raw[3] ^= 1
        file.write_bytes(raw)


@pytest.mark.parametrize("name", ["train-00001.bin", "heldout-00000.bin", "counts.bin"])
@pytest.mark.parametrize("way", ["missing", "short", "flipped"])
def test_damage_is_found_and_named(tmp_path, name, way):
    _build(tmp_path)
    manifest = read_manifest(tmp_path)
    assert damage_in(tmp_path, manifest, verify=True) is None
    _damage(tmp_path / name, way)
    found = damage_in(tmp_path, manifest, verify=way == "flipped")
    assert name in found and ("missing" if way == "missing" else "damaged") in found


@pytest.mark.parametrize("way", ["missing", "short"])
def test_a_damaged_store_is_built_anew(tmp_path, way):
    _build(tmp_path)
    before = _contents(tmp_path)
    _damage(tmp_path / "train-00001.bin", way)
    _build(tmp_path)
    assert _contents(tmp_path) == before


def test_a_shard_damaged_before_the_build_went_on_is_found_by_its_digest(tmp_path, monkeypatch):
    monkeypatch.setattr("selfstudy.text.token_build._BATCH_DOCUMENTS", 3)
    _build(tmp_path / "whole")
    with pytest.raises(OSError, match="pulled out"):
        _build(tmp_path / "cut", _Failing(50))
    _damage(tmp_path / "cut" / "train-00000.bin", "flipped")
    _build(tmp_path / "cut")
    assert _contents(tmp_path / "cut") == _contents(tmp_path / "whole")


def _changed(**changes):
    return lambda manifest: manifest | changes


@pytest.mark.parametrize(
    "change",
    [
        _changed(format="another"),
        _changed(format_version=2),
        _changed(dtype="<f4"),
        _changed(surplus=1),
        _changed(vocab_size=2**40),
        lambda manifest: manifest | {"train": [manifest["train"][0] | {"name": "../../secret.bin"}]},
        lambda manifest: manifest | {"train": manifest["train"][1:]},
        lambda manifest: manifest | {"heldout": [manifest["heldout"][0] | {"tokens": -4}]},
        lambda manifest: {},
        lambda manifest: [manifest],
    ],
)
def test_a_manifest_of_another_form_is_refused_and_nothing_is_overwritten(tmp_path, change):
    _build(tmp_path)
    file = tmp_path / "manifest.json"
    file.write_text(json.dumps(change(json.loads(file.read_text()))))
    before = _contents(tmp_path)
    for attempt in (read_manifest, _build):
        with pytest.raises(FileRefusedError, match=r"manifest\.json: not a token store's manifest"):
            attempt(tmp_path)
    assert _contents(tmp_path) == before


def test_another_programs_shards_are_left_alone(tmp_path):
    (tmp_path / "train-00000.bin").write_bytes(b"theirs")
    with pytest.raises(FileRefusedError, match=r"train-00000\.bin without a manifest\.json\n.*choose another folder"):
        _build(tmp_path)
    assert _contents(tmp_path) == {"train-00000.bin": b"theirs"}


def test_the_manifest_tells_what_each_file_is(tmp_path):
    store = _build(tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["complete"] and manifest["tokenizer_sha256"] == digest(_tokenizer())
    for stream, part in (("train", store.train), ("heldout", store.held_out)):
        assert sum(shard["tokens"] for shard in manifest[stream]) == len(part)
        assert sum(shard["text_bytes"] for shard in manifest[stream]) == part.text_bytes
        for shard in manifest[stream]:
            assert hashlib.sha256((tmp_path / shard["name"]).read_bytes()).hexdigest() == shard["sha256"]
