"""Archives that are damaged, gone or compressed."""

import tarfile
import zipfile

import pytest

from selfstudy.errors import DataError
from selfstudy.images import archive
from selfstudy.images.decode import BadInput
from selfstudy.images.opening import open_source


def _corrupt_deflate(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", b"x" * 10_000)
    content = bytearray(path.read_bytes())
    content[30 + len("a.png")] = 0xFF  # after the header of 30 bytes and the name: a block of no known kind
    path.write_bytes(content)
    return open_source(path)


def _cut_short(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.png", b"x" * 10_000)
        archive.writestr("b.png", b"x" * 10_000)
    source = open_source(path)
    assert source.encoded(0)  # the archive is open now
    path.write_bytes(path.read_bytes()[:12_000])
    source.encoded = lambda _, read=source.encoded: read(1)
    return source


def _vanished_zip(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.png", b"x")
    source = open_source(path)
    path.unlink()
    return source


def _replaced_zip(path):
    source = _vanished_zip(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("other.png", b"x")
    return source


def _vanished_tar(path):
    path = path.with_suffix(".tar")
    with tarfile.open(path, "w") as archive:
        archive.addfile(tarfile.TarInfo("a.png"))
    source = open_source(path)
    path.unlink()
    return source


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (_corrupt_deflate, "error: Error -3 while decompressing"),
        (_cut_short, "EOFError"),
        (_vanished_zip, "FileNotFoundError"),
        (_replaced_zip, "KeyError"),
        (_vanished_tar, "FileNotFoundError"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_member_that_cannot_be_read_is_one_bad_input(tmp_path, make, reason):
    with pytest.raises(BadInput, match=reason):
        make(tmp_path / "a.zip").encoded(0)


def test_a_compressed_tar_says_what_to_do(folder):
    path = folder.parent / "photos.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        archive.add(folder, ".")
    with pytest.raises(DataError, match=r"unpack a \.tar\.gz first"):
        open_source(path)


@pytest.mark.parametrize("ending", ["zip", "tar"])
def test_a_member_may_be_as_large_as_a_file_and_no_larger(tmp_path, monkeypatch, ending):
    monkeypatch.setattr(archive, "MAX_BYTES", 1000)
    for name, size in (("a.png", 1000), ("b.png", 1001)):
        (tmp_path / name).write_bytes(b"x" * size)
    path = tmp_path / f"a.{ending}"
    with zipfile.ZipFile(path, "w") if ending == "zip" else tarfile.open(path, "w") as opened:
        for name in ("a.png", "b.png"):
            (opened.write if ending == "zip" else opened.add)(tmp_path / name, name)
    source = open_source(path)
    assert source.encoded(0) == b"x" * 1000
    with pytest.raises(BadInput, match="more than 1,000 bytes"):
        source.encoded(1)
