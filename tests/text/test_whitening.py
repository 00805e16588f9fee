"""The end of a run on text leaves whitening statistics, and one command adds them to a run of an earlier version."""

import io
import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from rich.console import Console

import selfstudy
from selfstudy.errors import DataError, UsageError
from selfstudy.text.embedder import TextEmbedder
from tests.small_data import write_corpus

QUICK = {"steps": 2, "batch_size": 4, "device": "cpu", "precision": "fp32"}
SMALL = {"encoder.width": 16, "encoder.depth": 1, "encoder.heads": 2, "data.context": 24, "data.tokenizer": "char"}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def shown():
    return io.StringIO()


@pytest.fixture(scope="module")
def run(corpus, shown, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    settings = SMALL | {"data.cache": str(folder / "cache")}
    return selfstudy.pretrain(
        corpus, method="gpt", out=folder / "run", set=settings, console=Console(file=shown, width=200), **QUICK
    )


def test_a_run_says_what_its_statistics_took(run, shown):
    assert "whitening statistics of" in shown.getvalue() and " texts in " in shown.getvalue()


def test_whitened_embeddings_are_the_embeddings_after_the_projection(run, corpus, tmp_path):
    texts = [file.read_text() for file in sorted(corpus.glob("*.txt"))]  # all longer than a row
    embedder = run.encoder
    plain, whitening = embedder.embed(texts), embedder.whitened.whitening
    wanted = (plain - whitening.mean.numpy()) @ whitening.projection.numpy()
    np.testing.assert_allclose(embedder.embed(texts, whiten=True), wanted, rtol=1e-3, atol=1e-3)
    assert embedder.embed([], whiten=True).shape == (0, wanted.shape[1])
    run.embed(corpus, tmp_path / "a.parquet", whiten=True)
    assert json.loads(pq.read_schema(tmp_path / "a.parquet").metadata[b"selfstudy"])["whitened"] is True


def test_an_older_run_refuses_until_one_command_has_added_them(run, corpus):
    file = run.folder / "encoder" / "selfstudy.json"
    about = json.loads(file.read_text())
    del about["whitening_sha256"]
    file.write_text(json.dumps(about))
    with pytest.raises(UsageError, match="has no whitening statistics; add them: selfstudy whiten .*run DATA$"):
        run.encoder.embed("a text", whiten=True)
    count = selfstudy.whiten(run.folder, corpus)
    assert count > 12  # a long document counts once for each of its parts
    assert run.encoder.embed("a text", whiten=True).shape[0] == 1


def test_parts_are_taken_from_the_sample_alone(run, corpus, monkeypatch):
    monkeypatch.setattr("selfstudy.text.whitening.sample", lambda available: [0, 2, available - 1])
    assert selfstudy.whiten(run.folder, corpus) == 3


def test_one_short_text_is_not_enough(run):
    with pytest.raises(DataError, match="whitening statistics need at least 2 texts, found 1"):
        selfstudy.whiten(run.folder, ["short"])


def test_an_embedder_that_was_built_by_hand_cannot_whiten(run):
    loaded = run.encoder
    with pytest.raises(UsageError, match="an encoder that was not loaded from a run has no whitening statistics"):
        TextEmbedder(loaded.encoder, loaded.tokenizer, loaded.description).embed([], whiten=True)
