"""Labelled texts as an evaluation: its subjects, its split, and how an encoder is fine-tuned."""

import io
import shutil

import numpy as np
import pytest
import torch
from rich.console import Console

import selfstudy
from selfstudy.errors import DataError, UsageError
from selfstudy.probes import named
from selfstudy.probes.evaluation import Question
from selfstudy.probes.features import Features
from selfstudy.probes.finetune import Task
from selfstudy.probes.sts import Similarities
from selfstudy.runs.folder import RunFolder
from selfstudy.text.embedder import TextEmbedder
from selfstudy.text.evaluate import _subjects_of_pairs, open_evaluation, untrained
from selfstudy.text.labelled import read_pairs

QUIET = Console(file=io.StringIO())
STILL = {"optimizer.lr": 1e-30, "optimizer.weight_decay": 0.0}  # one step that moves no weight
SMALL = {"encoder.width": 16, "encoder.depth": 2, "encoder.heads": 2, "data.context": 24, "data.tokenizer": "char"}
ROWS = ["TF-IDF bag of words", "LSA", "untrained encoder", "pretrained encoder"]
TEXTS = [f"{colour} {thing} {number}" for colour in ("red", "blue") for thing in ("ball", "box") for number in range(5)]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("run")
    settings = SMALL | STILL | {"data.cache": str(folder / "cache")}
    more = {"batch_size": 4, "device": "cpu", "precision": "fp32", "seed": 3}
    return selfstudy.pretrain(TEXTS, method="simcse", out=folder / "run", steps=1, set=settings, **more)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    file = tmp_path_factory.mktemp("labelled") / "t.tsv"
    file.write_text("\n".join(["label\ttext", *(f"{text.split()[0]}\t{text}" for text in TEXTS)]), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    file = tmp_path_factory.mktemp("pairs") / "p.tsv"
    rows = ["sentence1\tsentence2\tscore", "red ball\tred ball\t5", "red ball\tblue box\t1", "red box\tblue box\t3"]
    file.write_text("\n".join(rows), encoding="utf-8")
    return file


def opened(run, data, *, probes=("knn", "finetune"), **more):
    return open_evaluation(RunFolder(run.folder), Question(named(probes), data, **more), QUIET)


def test_bags_of_words_and_the_untrained_encoder_come_before_the_pretrained_one(run, table):
    found = opened(run, table)
    assert found.about == "16 train, 4 test texts; a fifth of each class is for the test"
    subjects = list(found.subjects)
    assert [one.name for one in subjects] == ROWS
    assert [Task in one.inputs for one in subjects] == [False, False, True, True]
    assert [one.free for one in subjects] == [True, True, True, False]
    features = subjects[1].inputs[Features]()
    assert features.train.shape == (16, 16) and features.test.shape == (4, 16) and features.name == "LSA"
    assert opened(run, table, test=table).about == "20 train, 20 test texts; test texts given apart"


def test_free_rows_have_a_key_for_their_texts_and_the_pretrained_encoder_has_none(run, table, pairs, tmp_path):
    other = tmp_path / "other.tsv"
    other.write_text(table.read_text(encoding="utf-8").replace("ball 4", "ball 5"), encoding="utf-8")
    keys = [[one.key for one in opened(run, data).subjects] for data in (table, table, other)]
    assert keys[0] == keys[1] and len({*keys[0][:3], *keys[2][:3]}) == 6 and keys[0][3] is None
    of_pairs = [one.key for one in opened(run, pairs, probes=["sts"]).subjects]
    assert len({*of_pairs, *keys[0]}) == 7 and of_pairs[3] is None
    shorter = [one.key for one in _subjects_of_pairs(_shorter(run.encoder), read_pairs(pairs))]
    assert shorter[:2] == of_pairs[:2] and shorter[2] != of_pairs[2]


def _shorter(embedder):
    return TextEmbedder(embedder.encoder, embedder.tokenizer, embedder.description | {"context": 5}, device="cpu")


def test_a_folder_with_a_train_and_a_test_part_is_tested_on_its_own(run, table, tmp_path):
    for part, numbers in (("train", range(4)), ("test", range(2))):
        for name in ("red", "blue"):
            for number in numbers:
                file = tmp_path / part / name / f"{number}.txt"
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(f"{name} ball {number}", encoding="utf-8")
    assert opened(run, tmp_path).about == "8 train, 4 test texts; the data's own test split"
    assert opened(run, tmp_path, test=table).about == "8 train, 20 test texts; test texts given apart"
    assert opened(run, table, test=tmp_path).about == "20 train, 4 test texts; test texts given apart"
    results = selfstudy.evaluate(run.folder, tmp_path, probe=["linear"])
    assert results.accuracy("TF-IDF bag of words", "linear") == 100 and "8 train / 4 test" in str(results)
    (tmp_path / "test" / "green").mkdir()
    (tmp_path / "test" / "green" / "1.txt").write_text("green")
    with pytest.raises(DataError, match="only in train: none\nonly in test: green"):
        opened(run, tmp_path)


def test_the_untrained_encoder_has_the_first_weights_of_its_run(run):
    pretrained = run.encoder.encoder
    torch.manual_seed(99)
    first = dict(untrained(run.encoder).encoder.named_parameters())
    assert len(first) > 5
    torch.testing.assert_close(dict(pretrained.named_parameters()), first, rtol=0, atol=1e-9)


@pytest.mark.parametrize(("precision", "half"), [("fp32", False), ("bf16", True)])
def test_an_encoder_is_fine_tuned_in_the_precision_of_its_run(run, table, tmp_path, precision, half):
    folder = RunFolder(shutil.copytree(run.folder, tmp_path / "run"))
    written = folder.config.read_text().replace("precision: fp32", f"precision: {precision}")
    folder.config.write_text(written.replace("device: cpu", f"device: {run.encoder.device.type}"))
    *_, last = open_evaluation(folder, Question(named(["finetune"]), table), QUIET).subjects
    assert last.inputs[Task]().half is half


def test_features_are_those_of_the_embedder_with_their_labels(run, table):
    *_, last = opened(run, table, test=table).subjects
    features = last.inputs[Features]()
    np.testing.assert_allclose(features.test, run.encoder.embed(TEXTS), atol=1e-6)
    assert features.targets.tolist() == [int(text.startswith("red")) for text in TEXTS]


def test_pairs_have_the_same_subjects_and_nothing_else_can_be_asked_of_them(run, pairs):
    found = opened(run, pairs, probes=["sts"])
    assert found.about == "3 pairs of sentences"
    subjects = list(found.subjects)
    assert [one.name for one in subjects] == ROWS
    assert [one.free for one in subjects] == [True, True, True, False]
    words = subjects[0].inputs[Similarities]()
    assert words.values[0] == pytest.approx(1) and words.values[1] == 0 and words.scores.tolist() == [5, 1, 3]
    lsa = subjects[1].inputs[Similarities]()
    np.testing.assert_allclose(lsa.values, words.values, atol=1e-6)  # all directions of so few sentences
    assert "directions of LSA" in lsa.how
    with pytest.raises(UsageError, match="probe knn cannot be asked of pairs of sentences\nask for sts alone"):
        opened(run, pairs, probes=["knn", "sts"])
    with pytest.raises(UsageError, match="probe sts trains nothing, so it cannot use test 'x.tsv'\ngive those"):
        opened(run, pairs, probes=["sts"], test="x.tsv")
    with pytest.raises(UsageError, match="probe sts reads columns sentence1, sentence2 and score\nleave the label"):
        opened(run, pairs, probes=["sts"], columns={"label_column": "x"})


def test_the_split_holds_what_a_verdict_rests_on(run, table, pairs):
    split = opened(run, table, test=table, probes=("knn",)).split
    assert (sorted(split.train), sorted(split.test), split.repeated) == ([10, 10], [10, 10], 20)
    assert opened(run, table, probes=("knn",)).split.repeated == 0
    assert opened(run, pairs, probes=("sts",)).split.test == ()
