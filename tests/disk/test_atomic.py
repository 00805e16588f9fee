"""Written files appear whole or not at all."""

import pytest

from selfstudy.disk.atomic import refuse_existing, replace_file, staged_file, staged_folder
from selfstudy.errors import RunFolderError


def test_a_file_is_replaced_whole_and_nothing_is_left_next_to_it(tmp_path, monkeypatch):
    file = tmp_path / "a.json"
    replace_file(file, b"old")

    def refuse(handle):
        raise OSError("no space left")

    monkeypatch.setattr("os.fsync", refuse)
    with pytest.raises(OSError, match="no space"):
        replace_file(file, b"new")
    assert file.read_bytes() == b"old" and list(tmp_path.iterdir()) == [file]
    replace_file(file, b"new", sync=False)
    assert file.read_bytes() == b"new"


def test_a_name_is_synced_after_the_content_and_neither_where_it_is_not_asked_for(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr("os.fsync", lambda handle: seen.append((tmp_path / "a").exists()))
    replace_file(tmp_path / "a", b"one", sync=False)
    assert seen == []
    (tmp_path / "a").unlink()
    replace_file(tmp_path / "a", b"two")
    assert seen == [False, True]


def test_a_staged_file_takes_its_place_at_the_end_only(tmp_path):
    file = tmp_path / "a"
    with staged_file(file) as handle:
        handle.write(b"one")
        assert not file.exists()
    with pytest.raises(ValueError, match="wrong"), staged_file(file) as handle:
        handle.write(b"half")
        raise ValueError("wrong")
    assert file.read_bytes() == b"one" and list(tmp_path.iterdir()) == [file]


def test_files_of_a_staged_folder_join_those_that_were_there(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "kept").write_text("mine")
    with staged_folder(out) as folder:
        (folder / "inner").mkdir()
        (folder / "inner" / "b").write_text("new")
        assert not (out / "inner").exists()
    assert {str(file.relative_to(out)) for file in out.rglob("*")} == {"kept", "inner", "inner/b"}
    assert list(tmp_path.iterdir()) == [out]


def test_an_error_leaves_a_staged_folder_as_it_was(tmp_path):
    with pytest.raises(ValueError, match="wrong"), staged_folder(tmp_path / "out") as folder:
        (folder / "a").write_text("half")
        raise ValueError("wrong")
    assert list(tmp_path.iterdir()) == []


def test_what_exists_is_refused_unless_it_may_be_overwritten(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a").write_text("")
    for free in (tmp_path / "none", tmp_path / "empty"):
        refuse_existing(free, overwrite=False)
    for taken, what in ((tmp_path / "full", "already holds files"), (tmp_path / "full" / "a", "exists already")):
        refuse_existing(taken, overwrite=True)
        with pytest.raises(RunFolderError) as caught:
            refuse_existing(taken, overwrite=False)
        assert str(caught.value) == (f"{taken} {what}\n--overwrite replaces what is there, --out names another place")
