"""Files that anyone may have written are read within bounds, and a refusal names the file."""

import hashlib

import pytest

from selfstudy.disk.reading import file_digest, read_bytes, read_json, read_text
from selfstudy.errors import FileRefusedError


def test_a_file_of_the_largest_size_is_read_and_one_byte_more_is_refused(tmp_path):
    file = tmp_path / "a.json"
    file.write_bytes(b'{"a": 1}')
    assert read_bytes(file, 8) == b'{"a": 1}' and read_text(file, 8) == '{"a": 1}' and read_json(file, 8) == {"a": 1}
    for read in (read_bytes, read_text, read_json):
        with pytest.raises(FileRefusedError, match=r"a\.json: at most 7 bytes are read"):
            read(file, 7)


def test_a_missing_file_is_refused_by_name(tmp_path):
    with pytest.raises(FileRefusedError, match=r"gone\.json: No such file or directory"):
        read_json(tmp_path / "gone.json", 10)


def test_text_that_is_not_utf_8_is_refused(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"caf\xe9")
    with pytest.raises(FileRefusedError, match=r"a\.txt: not readable as UTF-8"):
        read_text(tmp_path / "a.txt", 10)


@pytest.mark.parametrize("content", [b"", b"[]", b"3", b"{", b"\xff\xfe", b"[" * 90_000])
def test_what_is_not_a_json_mapping_is_refused(tmp_path, content):
    file = tmp_path / "state.json"
    file.write_bytes(content)
    with pytest.raises(FileRefusedError, match="state.json: (not readable as JSON|holds a (list|int), a mapping)"):
        read_json(file, 10**6)


@pytest.mark.parametrize("size", [0, 2**20, 2**20 + 1])
def test_a_digest_covers_the_whole_file(tmp_path, size):
    content = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    (tmp_path / "a").write_bytes(content)
    assert file_digest(tmp_path / "a") == hashlib.sha256(content).hexdigest()
