"""The system calls of a save do what their names say."""

import pytest

from selfstudy.disk.file_system import FileSystem


def test_a_file_is_written_chunk_by_chunk_and_never_over_another(tmp_path):
    FileSystem().write(tmp_path / "a", [b"one ", memoryview(b"two")])
    assert (tmp_path / "a").read_bytes() == b"one two"
    with pytest.raises(FileExistsError):
        FileSystem().write(tmp_path / "a", [b"three"])


def test_file_and_folder_are_synced_by_their_own_handles(tmp_path, monkeypatch):
    synced = []
    files = FileSystem()
    monkeypatch.setattr(files, "sync", lambda handle, path: synced.append(path))
    files.write(tmp_path / "a", [b"one"])
    files.sync_folder(tmp_path)
    assert synced == [tmp_path / "a", tmp_path]


def test_removing_a_link_leaves_what_it_leads_to(tmp_path):
    (tmp_path / "folder" / "inner").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    FileSystem().remove(tmp_path / "link")
    assert (tmp_path / "folder" / "inner").is_dir() and not (tmp_path / "link").exists()
    FileSystem().remove(tmp_path / "folder")
    assert list(tmp_path.iterdir()) == []


def test_free_bytes_are_known_before_the_folder_exists(tmp_path):
    files = FileSystem()
    assert 0 < files.free_bytes(tmp_path / "not" / "yet") and (tmp_path / "not").exists() is False
