"""A store is read across its shards; a damaged file and another manifest are noticed."""

import copy
import hashlib
import json

import numpy as np
import pytest

from selfstudy.errors import FileRefusedError
from selfstudy.text.token_store import damage_in, read_manifest
from selfstudy.text.tokenizer import digest
from tests.text.token_stores import (
    DOCUMENTS,
    EOS,
    all_ids,
    build,
    contents,
    damage,
    encoded,
    split,
    tokenizer_of,
)

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")


@pytest.mark.parametrize("kind", ["bpe", "wordpiece", "char", "byte"])
def test_the_streams_are_the_documents_one_after_another(tmp_path, kind):
    tokenizer = tokenizer_of(kind)
    store = build(tmp_path / "store", tokenizer=tokenizer)
    for stream, documents in zip((store.train, store.held_out), split(DOCUMENTS), strict=True):
        assert all_ids(stream) == encoded(documents, tokenizer)
        assert stream.documents == len(documents) == all_ids(stream).count(EOS) > 5
        assert stream.text_bytes == sum(len(document.text.encode()) for document in documents)
    assert store.vocab_size == tokenizer.get_vocab_size()
    assert (store.tokenizer_sha256, store.fingerprint) == (digest(tokenizer), "f")


def test_any_part_of_a_stream_can_be_read_across_shards(tmp_path):
    stream = build(tmp_path, shard_tokens=40).train
    whole = all_ids(stream)
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
        build(tmp_path).train.read(start, count)


def test_what_is_read_is_a_copy_that_leaves_the_file_alone(tmp_path):
    store = build(tmp_path)
    before = contents(tmp_path)
    store.train.read(0, 10)[:] = 0
    assert contents(tmp_path) == before


def test_few_shards_are_open_at_a_time_and_a_copied_stream_reads_the_same(tmp_path):
    stream = build(tmp_path, shard_tokens=40).train
    whole = all_ids(stream)
    assert stream._mapped.cache_info().currsize == 4
    assert [block.tolist() for block in stream.blocks(50)][-1][-1] == whole[-1]
    assert stream._mapped.cache_info().currsize == 0  # mapped pages that were read count as this process's memory
    assert all_ids(copy.copy(stream)) == whole


def test_files_hold_plain_little_endian_ids(tmp_path):
    store = build(tmp_path)
    raw = b"".join(content for name, content in contents(tmp_path).items() if name.startswith("train-"))
    assert raw == b"".join(number.to_bytes(2, "little") for number in all_ids(store.train))
    assert store.dtype == "<u2"


def test_counts_are_those_of_the_training_stream(tmp_path):
    store = build(tmp_path)
    assert store.counts().tolist() == [all_ids(store.train).count(number) for number in range(store.vocab_size)]


@pytest.mark.parametrize("name", ["train-00001.bin", "heldout-00000.bin", "counts.bin"])
@pytest.mark.parametrize("way", ["missing", "short", "flipped"])
def test_damage_is_found_and_named(tmp_path, name, way):
    build(tmp_path)
    manifest = read_manifest(tmp_path)
    assert damage_in(tmp_path, manifest, verify=True) is None
    damage(tmp_path / name, way)
    assert way != "flipped" or damage_in(tmp_path, manifest, verify=False) is None
    found = damage_in(tmp_path, manifest, verify=way == "flipped")
    assert name in found and ("missing" if way == "missing" else "damaged") in found


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
    build(tmp_path)
    file = tmp_path / "manifest.json"
    file.write_text(json.dumps(change(json.loads(file.read_text()))))
    before = contents(tmp_path)
    for attempt in (read_manifest, build):
        with pytest.raises(FileRefusedError, match=r"manifest\.json: not a token store's manifest"):
            attempt(tmp_path)
    assert contents(tmp_path) == before


def test_the_manifest_tells_what_each_file_is(tmp_path):
    store = build(tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["complete"] and manifest["tokenizer_sha256"] == digest(tokenizer_of())
    for stream, part in (("train", store.train), ("heldout", store.held_out)):
        assert sum(shard["tokens"] for shard in manifest[stream]) == len(part)
        assert sum(shard["text_bytes"] for shard in manifest[stream]) == part.text_bytes
        for shard in manifest[stream]:
            assert hashlib.sha256((tmp_path / shard["name"]).read_bytes()).hexdigest() == shard["sha256"]


def test_a_huge_manifest_is_refused_before_it_is_parsed(tmp_path):
    with (tmp_path / "manifest.json").open("wb") as file:
        file.truncate(2**25 + 1)
    with pytest.raises(FileRefusedError, match=r"manifest\.json: at most 33,554,432 bytes are read$"):
        read_manifest(tmp_path)
