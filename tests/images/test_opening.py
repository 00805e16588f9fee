import os
import pickle
import tarfile
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, TensorDataset

from selfstudy.errors import DataError, EnvironmentFault, UsageError
from selfstudy.images import opening
from selfstudy.images.decode import BadInput
from selfstudy.images.opening import FORMATS, open_source
from selfstudy.images.scan import scan
from selfstudy.images.sources import Format

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 10, 12, 3), dtype=np.uint8)
NAMES = ["cats/a.png", "cats/b.PNG", "dogs/c.png", "dogs/d.png", "dogs/x,y\n.png", "owls/é.png"]


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "photos"
    for name, pixels in zip(NAMES, PIXELS, strict=True):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(root / name, "PNG")
    return root


def _split_folder(root):
    for part in ("train", "test"):
        for label in ("cats", "dogs"):
            (root / part / label).mkdir(parents=True)
            for number in range(2):
                Image.fromarray(PIXELS[number]).save(root / part / label / f"{number}.png")
    return root


def _as_zip(folder):
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as archive:
        for name in NAMES:
            archive.write(folder / name, name)
    return path


def _as_tar(folder):
    path = folder.with_suffix(".tar")
    with tarfile.open(path, "w") as archive:
        archive.add(folder, ".")
    return path


def _as_csv(folder):
    import csv

    path = folder.parent / "list.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(
            [["path", "label"], *([f"photos/{n}", n.split("/")[0]] for n in NAMES if "\n" not in n)]
        )
    return path


def _as_parquet(folder):
    path = folder.parent / "table.parquet"
    cells = [{"bytes": (folder / name).read_bytes(), "path": name} for name in NAMES]
    pq.write_table(pa.table({"image": cells, "label": [name.split("/")[0] for name in NAMES]}), path)
    return path


@pytest.mark.parametrize("make", [lambda f: f, _as_zip, _as_tar, _as_parquet], ids=["folder", "zip", "tar", "parquet"])
def test_every_container_gives_the_same_images_labels_and_survives_pickling(folder, make):
    source = pickle.loads(pickle.dumps(open_source(make(folder), labels=True)))
    assert len(source) == len(NAMES)
    assert source.class_names == ["cats", "dogs", "owls"]
    assert source.labels.tolist() == [0, 0, 1, 1, 1, 2]
    for index, pixels in enumerate(PIXELS):
        assert np.array_equal(source.read(index).permute(1, 2, 0).numpy(), pixels)
    assert len(set(source.ids)) == len(NAMES)


def test_a_csv_of_paths_reads_files_beside_it(folder):
    source = open_source(_as_csv(folder), labels=True)
    assert source.class_names == ["cats", "dogs", "owls"] and len(source) == 5
    assert np.array_equal(source.read(0).permute(1, 2, 0).numpy(), PIXELS[0])


def test_a_text_list_needs_no_header(folder):
    (folder.parent / "list.txt").write_text("photos/cats/a.png\n\nphotos/dogs/c.png\n")
    assert len(open_source(folder.parent / "list.txt")) == 2


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


def test_hidden_and_foreign_files_links_and_pipes_are_passed_over(folder):
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


@pytest.mark.parametrize("name", [None, ""])
def test_a_row_without_a_path_is_named(folder, name):
    pq.write_table(pa.table({"path": ["photos/cats/a.png", name]}), folder.parent / "list.parquet")
    with pytest.raises(DataError, match=f"row 1 .from 0.: 'path' is {name!r}, a path is needed\nrepair or remove"):
        open_source(folder.parent / "list.parquet")


class _Named(Dataset):
    def __len__(self):
        return 2

    def __getitem__(self, index):
        return PIXELS[index], ("cat", "dog")[index]


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        ((PIXELS[:3], ["cat", "dog", "cat"]), "cat .<U3"),
        ((PIXELS[:3], [0.0, 0.9, 1.2]), "0.9 .float64"),
        ((PIXELS[:2], [0.0, float("nan")]), "nan .float64"),
        (_Named(), "cat .<U3"),
    ],
    ids=["names", "shares", "missing", "dataset"],
)
def test_labels_that_are_no_class_numbers_are_refused(data, shown):
    with pytest.raises(DataError, match=f"has labels such as {shown}.\nclass numbers are needed"):
        open_source(data, labels=True)


@pytest.mark.parametrize("labels", [np.zeros((2, 1), np.int64), np.eye(2, dtype=np.int64), 1])
def test_labels_of_another_shape_are_refused(labels):
    with pytest.raises(DataError, match=r"has labels of shape \(.*\)\none class number for each image is needed"):
        open_source((PIXELS[:2], labels), labels=True)


def test_whole_numbers_of_any_kind_are_class_numbers():
    for numbers in ([1.0, 0.0], np.array([True, False]), torch.tensor([1, 0]), np.array([1, 0], np.uint8)):
        assert open_source((PIXELS[:2], numbers), labels=True).labels.tolist() == [1, 0]


@pytest.mark.parametrize(
    "data", [np.zeros((5, 3, 32, 32), np.uint8), torch.zeros(5, 32, 32, 3)], ids=["array", "tensor"]
)
def test_channels_at_the_wrong_end_are_told_where_they_belong(data):
    with pytest.raises(DataError, match=r"pixels, at least 8 a side are needed; arrays are \(N, H, W, C\), tensors"):
        scan(open_source(data))


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


@pytest.mark.parametrize("name", ["nowhere/", "sampel:fashion", "sample:fashoin", "torchvision:CIFAR11"])
def test_a_name_that_leads_nowhere_says_so(name):
    with pytest.raises(UsageError, match="does not exist|unknown"):
        open_source(name)


def test_a_torchvision_set_that_is_not_here_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"torchvision:CIFAR10 is not in \./data"):
        open_source("torchvision:CIFAR10")


def test_hub_without_its_extra_names_the_command(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(EnvironmentFault, match=r"pip install 'selfstudy\[data\]'"):
        open_source("hub:cifar10")


def test_hub_opens_images_with_the_names_of_their_classes_and_decodes_none(folder, tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    with monkeypatch.context() as opening:
        opening.setattr(datasets.Image, "decode_example", lambda *_, **__: pytest.fail("an image was decoded"))
        source = open_source(f"hub:{folder}", labels=True)
    assert source.class_names == ["cats", "dogs", "owls"] and source.labels.tolist() == [0, 0, 1, 1, 2]
    assert source.read(0).shape == (3, 10, 12)


def test_hub_without_labels_names_the_columns_there_are(folder, tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    assert len(open_source(f"hub:{folder / 'cats'}")) == 2
    with pytest.raises(DataError, match="has no label column; its columns are image\nlabels are needed to evaluate"):
        open_source(f"hub:{folder / 'cats'}", labels=True)


def test_hub_says_why_even_when_the_package_does_not(monkeypatch):
    datasets = pytest.importorskip("datasets")

    def fail(*_, **__):
        raise ConnectionError

    monkeypatch.setattr(datasets, "load_dataset", fail)
    with pytest.raises(UsageError, match="hub:cifar10 cannot be opened: ConnectionError"):
        open_source("hub:cifar10")


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("name", ["sample:fashion", "sample:digits"])
def test_bundled_samples_have_both_splits_and_ten_classes(name, split):
    source = open_source(name, labels=True, split=split)
    assert len(source.class_names) == 10 and len(set(source.labels.tolist())) == 10
    assert source.read(0).shape[0] == 1


def test_arrays_tensors_and_datasets_are_sources(tmp_path):
    np.save(tmp_path / "a.npy", PIXELS)
    np.savez(tmp_path / "a.npz", images=PIXELS, labels=np.arange(6))
    tensor = torch.from_numpy(PIXELS).permute(0, 3, 1, 2)
    dataset = TensorDataset(tensor, torch.arange(6))
    for data in (tmp_path / "a.npy", tmp_path / "a.npz", PIXELS, tensor, dataset):
        source = open_source(data)
        assert len(source) == 6 and torch.equal(source.read(3), tensor[3])
    assert open_source(tmp_path / "a.npz", labels=True).labels.tolist() == list(range(6))
    assert open_source(dataset, labels=True).labels.tolist() == list(range(6))
    assert open_source((PIXELS, np.arange(6)), labels=True).labels.tolist() == list(range(6))


def test_a_pickle_inside_an_array_file_is_refused(tmp_path):
    np.save(tmp_path / "evil.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="cannot be read"):
        open_source(tmp_path / "evil.npy")


def test_a_compressed_tar_says_what_to_do(folder):
    path = folder.parent / "photos.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        archive.add(folder, ".")
    with pytest.raises(DataError, match=r"unpack a \.tar\.gz first"):
        open_source(path)


def test_data_of_one_part_has_no_test_split(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "list.csv").write_text("path,label\na.png,x\na.png,y\n")
    for data in (tmp_path / "list.csv", TensorDataset(torch.zeros(4, 3, 8, 8), torch.arange(4) % 2)):
        assert len(open_source(data, labels=True)) > 1
        with pytest.raises(UsageError, match="has no 'test' split\ngive the test images apart"):
            open_source(data, labels=True, split="test")


def test_labels_are_read_from_the_column_that_is_named(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "list.csv").write_text("path,kind,label\na.png,x,1\na.png,y,1\n")
    assert open_source(tmp_path / "list.csv", labels=True, label_column="kind").class_names == ["x", "y"]
    pq.write_table(pa.table({"image": [(tmp_path / "a.png").read_bytes()] * 2, "kind": [3, 4]}), tmp_path / "t.parquet")
    assert len(open_source(tmp_path / "t.parquet", labels=True, label_column="kind").class_names) == 2
    for table, columns in (("list.csv", "path, kind, label"), ("t.parquet", "image, kind")):
        with pytest.raises(DataError, match=f"no column 'knd' of labels; did you mean 'kind'.*\nit has: {columns}$"):
            open_source(tmp_path / table, labels=True, label_column="knd")


def test_a_label_column_of_what_is_no_table_is_refused(tmp_path):
    for data, what in ((tmp_path, str(tmp_path)), (np.zeros((4, 8, 8), np.uint8), "ndarray"), ("sample:digits",) * 2):
        with pytest.raises(UsageError, match=f"{what} is not a table, so it has no column 'kind'\nleave"):
            open_source(data, labels=True, label_column="kind")


def test_a_file_that_no_format_declares_is_refused_with_all_that_some_declare(tmp_path):
    (tmp_path / "a.heic").write_bytes(b"x")
    with pytest.raises(UsageError) as caught:
        open_source(tmp_path / "a.heic")
    allowed = str(caught.value).partition("\nallowed: a folder, ")[2]
    assert set(allowed.split(", ")) == {suffix for one in FORMATS for suffix in one.suffixes} - {"/"}
    with pytest.raises(
        UsageError, match="unknown kind of data 'hob'; did you mean 'hub'.*\nknown: .*hub:NAME, or a path"
    ):
        open_source("hob:cats")


def test_a_format_is_what_its_file_declares_and_nothing_else(tmp_path, monkeypatch):
    opened = Format(lambda path, *, labels, split: (path.name, labels, split), suffixes=(".tfrecord",))
    monkeypatch.setattr(opening, "FORMATS", (*FORMATS, opened))
    (tmp_path / "a.TFRecord").write_bytes(b"x")
    assert open_source(tmp_path / "a.TFRecord", labels=True) == ("a.TFRecord", True, None)


def test_no_two_formats_claim_one_name():
    claims = [name for one in FORMATS for name in (*one.suffixes, *one.refused, *filter(None, [one.prefix]))]
    assert len(set(claims)) == len(claims)
