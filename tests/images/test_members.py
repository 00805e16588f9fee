"""Splits and classes by the names of folders, and the error if there are no images."""

import pytest
from PIL import Image

from selfstudy.errors import DataError, UsageError
from selfstudy.images.opening import open_source
from tests.images.conftest import PIXELS


def _split_folder(root):
    for part in ("train", "test"):
        for label in ("cats", "dogs"):
            (root / part / label).mkdir(parents=True)
            for number in range(2):
                Image.fromarray(PIXELS[number]).save(root / part / label / f"{number}.png")
    return root


def test_splits_at_the_top_are_recognised(tmp_path):
    root = _split_folder(tmp_path / "data")
    assert all(name.startswith("train/") for name in open_source(root).ids)
    test = open_source(root, labels=True, split="test")
    assert all(name.startswith("test/") for name in test.ids) and test.class_names == ["cats", "dogs"]
    with pytest.raises(UsageError, match="has no 'test' split"):
        open_source(root / "train", split="test")


def test_a_class_named_valid_is_no_test_split(tmp_path):
    for label in ("valid", "invalid"):
        (tmp_path / label).mkdir()
        Image.fromarray(PIXELS[0]).save(tmp_path / label / "a.png")
    assert open_source(tmp_path, labels=True).class_names == ["invalid", "valid"]
    with pytest.raises(UsageError, match="has no 'test' split\nsplits are two folders at its top, named train and te"):
        open_source(tmp_path, labels=True, split="test")


def test_a_folder_of_text_is_sent_to_the_text_methods(tmp_path):
    for name in ("a.txt", "b.md", "c.jsonl", "d.csv.gz", "e.pdf"):
        (tmp_path / name).write_text("x")
    with pytest.raises(DataError, match="look like text: use --method bert or gpt"):
        open_source(tmp_path)


def test_a_few_notes_among_foreign_files_do_not_look_like_text(tmp_path):
    for name in ("readme.txt", "a.heic", "b.heic"):
        (tmp_path / name).write_text("x")
    with pytest.raises(DataError, match=r"\.heic 2, \.txt 1\nallowed:"):
        open_source(tmp_path)


def test_a_folder_without_images_says_what_it_holds(tmp_path):
    (tmp_path / "a.txt").write_text("x")
    (tmp_path / "b.txt").write_text("x")
    with pytest.raises(DataError, match=r"no images in folder .*: \.txt 2"):
        open_source(tmp_path)


def test_labels_from_loose_images_or_one_class_are_refused(folder):
    Image.fromarray(PIXELS[0]).save(folder / "loose.png")
    with pytest.raises(DataError, match=r"images outside class folders: loose\.png"):
        open_source(folder, labels=True)
    with pytest.raises(DataError, match="images outside class folders"):
        open_source(folder / "cats", labels=True)


def test_a_folder_of_links_says_that_they_are_not_followed(folder, tmp_path):
    (tmp_path / "links").mkdir()
    for name in ("a.png", "c.png"):
        (tmp_path / "links" / name).symlink_to(next(folder.rglob(name)))
    text = "no images in folder .*: no files at all, and 2 links, which are not followed\ncopy the files they lead to"
    with pytest.raises(DataError, match=text):
        open_source(tmp_path / "links")
