"""k-NN readings of a run on text: on which texts they are, and that they change nothing."""

import json

import pytest
import torch

import selfstudy
from selfstudy.errors import UsageError
from selfstudy.probes.features import Features
from selfstudy.text.embedder import TextEmbedder
from selfstudy.text.labelled import read_labelled_texts
from selfstudy.text.readings import open_eval_set
from tests.small_data import write_corpus

QUICK = {"steps": 3, "batch_size": 4, "device": "cpu", "precision": "fp32"}
SMALL = {"encoder.width": 16, "encoder.depth": 1, "encoder.heads": 2, "data.context": 24, "data.tokenizer": "char"}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    file = tmp_path_factory.mktemp("labelled") / "a.tsv"
    words = ["some words of it " * (1 + number % 5) if number % 2 else f"document {number}" for number in range(50)]
    lines = [f"{text.strip()} {number}\t{number % 2}" for number, text in enumerate(words)]
    file.write_text("\n".join(["text\tlabel", *lines]) + "\n", encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def runs(corpus, labelled, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    settings = {"method": "bert", "set": SMALL | {"data.cache": str(folder / "cache"), "encoder.dropout": 0.1}, **QUICK}
    plain = selfstudy.pretrain(corpus, out=folder / "plain", **settings)
    return plain, selfstudy.pretrain(corpus, out=folder / "read", eval=labelled, **settings)


def test_a_run_with_readings_learns_the_same_bit_for_bit(runs):
    plain, read = ((run.folder / "encoder" / "model.safetensors").read_bytes() for run in runs)
    assert plain == read
    lines = [json.loads(line) for line in (runs[1].folder / "readings.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line["probe"] == "knn"] == [None, 0, 1, 2, 3]
    assert lines[0]["row"] == "TF-IDF" or lines[0]["row"].startswith("TF-IDF")


def test_embeddings_are_those_of_first_rows_in_the_order_of_the_texts(runs, labelled):
    embedder = runs[0].encoder
    examples = open_eval_set(labelled, embedder)
    assert examples.about == "32 texts of train in the bank, 8 asked"
    features = examples.subject(embedder.encoder).inputs[Features]()
    everything, _ = read_labelled_texts(labelled)
    rows = embedder.first_rows(everything.texts)
    wanted = torch.cat([embedder.encoder(row[None]) for row in rows]).detach()
    labels = torch.from_numpy(everything.labels)
    distances = torch.cdist(torch.cat([features.train, features.test]), wanted)
    distances += 9.0 * (torch.cat([features.targets, features.test_targets])[:, None] != labels)  # of another class
    assert float(distances.min(dim=1).values.max()) < 2e-3
    assert len(features.train) == 32 and features.train.std(dim=0).min() > 0.01


def test_a_test_part_is_left_alone(runs, tmp_path):
    for part in ("train", "test"):
        for number in range(20):
            folder = tmp_path / part / "ab"[number % 2]
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{number}.txt").write_text(f"{part} {number}")
    examples = open_eval_set(tmp_path, runs[0].encoder)
    assert examples.about == "16 texts of train in the bank, 4 asked"


def test_labelled_data_that_does_not_exist_is_refused(runs, tmp_path):
    with pytest.raises(UsageError, match="none"):
        open_eval_set(tmp_path / "none.tsv", runs[0].encoder)


def test_the_mode_of_an_encoder_in_training_is_left_as_it_was(runs, labelled):
    loaded = runs[0].encoder
    examples = open_eval_set(labelled, TextEmbedder(loaded.encoder, loaded.tokenizer, loaded.description))
    loaded.encoder.train()
    examples.subject(loaded.encoder).inputs[Features]()
    assert all(part.training for part in loaded.encoder.modules())
