"""The end of a run on images leaves whitening statistics, and one command adds them to a run of an earlier version."""

import io
import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
from rich.console import Console

import selfstudy
from selfstudy.errors import DataError, UsageError
from selfstudy.images.embedder import Embedder
from selfstudy.images.opening import open_source
from selfstudy.images.scan import scan
from selfstudy.images.whitening import whiten_by_scan
from selfstudy.runs.whitening import Allowance
from tests.small_data import write_photos

QUICK = {"encoder": "resnet10t", "steps": 2, "batch_size": 4, "image_size": 16, "device": "cpu", "precision": "fp32"}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return write_photos(tmp_path_factory.mktemp("photos"), count=40, size=(16, 16))


@pytest.fixture(scope="module")
def shown():
    return io.StringIO()


@pytest.fixture(scope="module")
def run(photos, shown, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    return selfstudy.pretrain(photos, out=out, console=Console(file=shown), **QUICK)


@pytest.fixture
def older(run, tmp_path):
    """A run without statistics."""
    folder = shutil.copytree(run.folder, tmp_path / "older")
    (folder / "encoder" / "whitening.safetensors").unlink()
    file = folder / "encoder" / "config.json"
    about = json.loads(file.read_text())
    del about["whitening_sha256"]
    file.write_text(json.dumps(about))
    return folder


def _paths(photos):
    return sorted(photos.glob("*/*.png"))


def test_a_run_says_what_its_statistics_took_and_whitens_the_images_they_are_of(run, photos, shown):
    assert "whitening statistics of 40 images in" in shown.getvalue()
    vectors = run.encoder.embed(_paths(photos), whiten=True)
    covariance = np.cov(vectors.T, bias=True)
    np.testing.assert_allclose(vectors.mean(axis=0), 0, atol=1e-3)
    np.testing.assert_allclose(covariance, np.eye(len(covariance)) * covariance[0, 0], atol=0.02)
    assert run.encoder.embed(_paths(photos)).shape[1] == 512 != vectors.shape[1]


def test_a_file_of_whitened_embeddings_says_so(run, photos, tmp_path):
    for whiten in (False, True):
        run.embed(photos, tmp_path / "a.parquet", overwrite=True, whiten=whiten)
        table = pq.read_table(tmp_path / "a.parquet")
        about = json.loads(table.schema.metadata[b"selfstudy"])
        wanted = run.encoder.embed(_paths(photos), whiten=whiten)
        assert about["whitened"] is whiten and about["encoder"]["embed_dim"] == wanted.shape[1]
        np.testing.assert_allclose(np.stack(table["embedding"].to_numpy()), wanted, rtol=1e-4, atol=1e-3)


def test_an_older_run_refuses_until_one_command_has_added_them(older, run, photos, tmp_path):
    says = f"{older} has no whitening statistics; add them: selfstudy whiten {older} DATA"
    with pytest.raises(UsageError) as caught:
        selfstudy.embed(older, photos, tmp_path / "a.parquet", whiten=True)
    assert str(caught.value) == says and not (tmp_path / "a.parquet").exists()
    plain = selfstudy.load(older).embed(_paths(photos))
    assert selfstudy.whiten(older, photos) == 40
    np.testing.assert_array_equal(selfstudy.load(older).embed(_paths(photos)), plain)
    vectors = (selfstudy.load(folder).embed(_paths(photos), whiten=True) for folder in (older, run.folder))
    np.testing.assert_allclose(*vectors, atol=1e-3)


def test_the_statistics_come_from_the_sample_alone(older, photos, monkeypatch):
    monkeypatch.setattr("selfstudy.images.whitening.sample", lambda available, at_most: list(range(available // 2)))
    source = open_source(photos)
    embedder, console = Embedder.load(older / "encoder", device="cpu"), Console(quiet=True)
    for memory in (0, None):  # images that are read from disk, and kept ones
        found = scan(source, memory_bytes=memory)
        assert whiten_by_scan(embedder, source, found, allowed=Allowance(), console=console) == 20


def test_an_image_that_became_unreadable_is_left_out_of_the_statistics(older, tmp_path):
    (tmp_path / "few").mkdir()
    photos = write_photos(tmp_path / "few", count=4, size=(16, 16))
    source = open_source(photos)
    found = scan(source, memory_bytes=0)
    _paths(photos)[1].write_bytes(b"no image any more")
    embedder, console = Embedder.load(older / "encoder", device="cpu"), Console(quiet=True)
    assert whiten_by_scan(embedder, source, found, allowed=Allowance(), console=console) == 3


def test_one_image_is_not_enough(older):
    with pytest.raises(DataError, match="whitening statistics need at least 2 images, found 1"):
        selfstudy.whiten(older, np.zeros((1, 16, 16, 3), np.uint8))


def test_an_embedder_that_was_built_by_hand_cannot_whiten(run):
    loaded = run.encoder
    with pytest.raises(UsageError, match="an encoder that was not loaded from a run has no whitening statistics"):
        Embedder(loaded.encoder, loaded.preprocessing, loaded.description).embed([], whiten=True)
