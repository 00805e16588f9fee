"""The files of a folder that are listed, and their order."""

import os

import pytest
from PIL import Image

from selfstudy.errors import DataError
from selfstudy.images.opening import open_source
from selfstudy.images.scan import scan
from tests.images.conftest import NAMES, PIXELS


def test_order_is_that_of_the_bytes_of_relative_paths(folder):
    ids = open_source(folder).ids
    assert ids == sorted(ids, key=os.fsencode) and set(ids) == set(NAMES)


def test_a_folder_of_links_alone_is_told_what_to_do(folder, tmp_path):
    (tmp_path / "links").mkdir()
    for number in range(2):
        (tmp_path / "links" / f"{number}.png").symlink_to(folder / "cats/a.png")
    with pytest.raises(
        DataError, match="no files at all, and 2 links, which are not followed\ncopy the files they lead to"
    ):
        open_source(tmp_path / "links")


def test_hidden_and_foreign_files_links_and_pipes_are_skipped(folder):
    (folder / ".hidden.png").write_bytes(b"x")
    (folder / "__MACOSX").mkdir()
    (folder / "__MACOSX" / "a.png").write_bytes(b"x")
    (folder / "notes.txt").write_text("x")
    (folder / "loop").symlink_to(folder)
    (folder / "link.png").symlink_to(folder / "cats/a.png")
    os.mkfifo(folder / "pipe.png")
    assert set(open_source(folder).ids) == set(NAMES)


def test_a_name_that_is_not_utf8_is_read(folder):
    Image.fromarray(PIXELS[0]).save(os.fsencode(folder) + b"/\xff\xfe.png")
    source = open_source(folder)
    assert len(source) == len(NAMES) + 1 and source.fingerprint()
    assert all(source.read(index).shape == (3, 10, 12) for index in range(len(source)))


def _refuse_to_list(folder, monkeypatch):
    scandir = os.scandir

    def refuse(path):
        if path == folder:
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)


def test_a_folder_that_cannot_be_listed_is_a_warning_of_the_scan(folder, monkeypatch):
    _refuse_to_list(folder / "owls", monkeypatch)
    source = open_source(folder)
    assert len(source) == len(NAMES) - 1
    assert source.warnings == ["folder owls cannot be listed: Permission denied"]
    assert scan(source).warnings == source.warnings


def test_a_folder_without_images_names_the_part_that_cannot_be_listed(folder, monkeypatch):
    _refuse_to_list(folder, monkeypatch)
    with pytest.raises(DataError, match="no files at all\nfolder . cannot be listed: Permission denied\ngive"):
        open_source(folder)
