import json

import pytest

from selfstudy.disk import manifest
from selfstudy.disk.manifest import NewerFormat, Tally, manifest_text, verify
from selfstudy.errors import FileRefusedError

LARGEST = {"a.bin": 100, "b.json": 100}


def _folder(path, version=1, **entries):
    """A folder with two files and its manifest, of which entries can be replaced."""
    path.mkdir(exist_ok=True)
    found = {}
    for name in LARGEST:
        tally = Tally([name.encode(), b" content"])
        (path / name).write_bytes(b"".join(tally))
        found[name] = tally.entry()
    (path / "MANIFEST.json").write_bytes(manifest_text(found | entries, version))
    return path


def test_a_whole_folder_passes(tmp_path):
    verify(_folder(tmp_path / "whole"), LARGEST)


def test_the_manifest_holds_version_sizes_and_digests(tmp_path):
    content = json.loads((_folder(tmp_path / "a") / "MANIFEST.json").read_text())
    assert content["format_version"] == 1
    # sha256sum of "a.bin content"
    assert content["files"]["a.bin"] == {
        "bytes": 13,
        "sha256": "286b5df9abc281bed882df3836a94c570ded9d5d317060045ac8886a4966bd05",
    }


def _refusal(folder):
    try:
        verify(folder, LARGEST)
    except FileRefusedError as error:
        return error


def test_damage_to_any_byte_of_the_manifest_is_found_and_not_taken_for_a_newer_format(tmp_path):
    folder = _folder(tmp_path / "bits")
    file = folder / "MANIFEST.json"
    whole = file.read_bytes()
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << position % 8
        file.write_bytes(damaged)
        refusal = _refusal(folder)
        assert type(refusal) is FileRefusedError and "MANIFEST.json" in str(refusal), position


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "sub/a.bin", "a.bin\x00", ""])
def test_a_manifest_that_lists_another_path_is_refused(tmp_path, name):
    folder = _folder(tmp_path / "out", **{name: {"bytes": 1, "sha256": ""}})
    with pytest.raises(FileRefusedError, match="MANIFEST.json: .* is listed and does not belong there"):
        verify(folder, LARGEST)


@pytest.mark.parametrize("entry", [None, [], "x", {}, {"bytes": 13}, {"bytes": "13", "sha256": 3}])
def test_an_entry_of_another_shape_is_refused(tmp_path, entry):
    with pytest.raises(FileRefusedError, match="a.bin: "):
        verify(_folder(tmp_path / "odd", **{"a.bin": entry}), LARGEST)


def test_a_file_above_its_largest_size_is_refused_before_it_is_read(tmp_path):
    with pytest.raises(FileRefusedError, match="a.bin: 13 bytes, at most 12 are read"):
        verify(_folder(tmp_path / "large"), LARGEST | {"a.bin": 12})


def test_a_manifest_above_its_largest_size_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(manifest, "_MAX_MANIFEST_BYTES", 100)
    with pytest.raises(FileRefusedError, match="MANIFEST.json: at most 100 bytes are read"):
        verify(_folder(tmp_path / "large"), LARGEST)


def test_a_newer_format_is_told_from_damage(tmp_path):
    folder = _folder(tmp_path / "newer", version=2)
    with pytest.raises(NewerFormat, match=r"format version 2, this selfstudy reads up to 1\ninstall the selfstudy"):
        verify(folder, LARGEST)
    file = folder / "MANIFEST.json"
    file.write_text(file.read_text().replace('"format_version": 2', '"format_version": 3'))
    with pytest.raises(FileRefusedError, match="damaged, its own digest does not fit"):
        verify(folder, LARGEST)


def test_a_file_that_cannot_be_opened_is_named(tmp_path, monkeypatch):
    folder = _folder(tmp_path / "closed")

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied", str(folder / "MANIFEST.json"))

    monkeypatch.setattr(type(folder), "open", refuse)
    with pytest.raises(FileRefusedError, match="MANIFEST.json: Permission denied"):
        verify(folder, LARGEST)
