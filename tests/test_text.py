"""Tests of text from start to end: pretrain, evaluate, embed, fill in, complete, export, resume, and refused input."""

import io
import json
import re
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
from rich.console import Console
from typer.testing import CliRunner

import selfstudy
from selfstudy import modalities
from selfstudy.cli import app
from selfstudy.encoders.text import TextEncoder
from selfstudy.errors import DataError, EnvironmentFault, FileRefusedError, RunFolderError, UsageError
from selfstudy.probes.finetune import RECIPE
from selfstudy.probes.results import HELD_OUT_TEXT
from selfstudy.text.embedder import encode_rows
from selfstudy.text.tokenizer import digest, train_tokenizer
from selfstudy.text.work import TextWork

QUICK = {"steps": 3, "batch_size": 4, "device": "cpu", "precision": "fp32"}
WORDS = ["red", "green", "blue", "round", "square", "large", "small", "ball", "box", "cup"]


def _sentence(rng):
    return " ".join(rng.choice(WORDS, 8)) + "."


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("corpus"), np.random.default_rng(0)
    for number in range(12):
        lines = [_sentence(rng) for _ in range(20)]
        (folder / f"{number:02d}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


def _settings(cache, **more):
    small = {"encoder.width": 16, "encoder.depth": 2, "encoder.heads": 2, "data.context": 24, "data.cache": str(cache)}
    return {"set": small | {"data.tokenizer": "char", "data.held_out": 0.2} | more, **QUICK}


@pytest.fixture(scope="module")
def runs(corpus, cache, tmp_path_factory):
    """Train one run of every method for text."""
    out = tmp_path_factory.mktemp("runs")
    return {
        method: selfstudy.pretrain(corpus, method=method, out=out / method, **_settings(cache))
        for method in ("bert", "gpt", "simcse", "electra")
    }


@pytest.fixture(scope="module")
def reviews(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("reviews"), np.random.default_rng(1)
    for name in ("train", "test"):
        rows = [f"{label}\t{label} {_sentence(rng)}" for label in ("good", "bad") for _ in range(30)]
        (folder / f"{name}.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder


def test_a_run_on_text_leaves_what_every_run_leaves(runs):
    folder = runs["bert"].folder
    metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert metrics[-1]["step"] == 3 and "accuracy" in metrics[-1]
    text = (folder / "config.yaml").read_text()
    assert "context: 24" in text and "name: modernbert-tiny  # 4,608 tokens to read" in text
    assert json.loads((folder / "environment.json").read_text())["inputs"] == 12


@pytest.mark.parametrize(("method", "stuck"), [("gpt", True), ("simcse", False)])
def test_a_language_model_can_get_stuck_at_the_entropy_of_tokens(corpus, cache, method, stuck):
    config = modalities.configured(corpus, {}, {"method": method, **_settings(cache)})
    work = TextWork(corpus, config, Console(quiet=True))
    meaning = "the entropy of single tokens: it predicts how frequent tokens are and uses no context yet"
    assert work.plateau == ((work.corpus.landmarks.unigram, meaning) if stuck else None)


@pytest.mark.parametrize("method", ["bert", "gpt"])
def test_the_held_out_text_is_measured(runs, method):
    lines = [json.loads(line) for line in (runs[method].folder / "evaluations.jsonl").read_text().splitlines()]
    value = {line["probe"]: line["value"] for line in lines}
    assert tuple(value) == HELD_OUT_TEXT and 0 < value["bits per byte"] < 8 and 0 <= value["token accuracy"] <= 100
    assert value["perplexity"] == pytest.approx(np.exp(value["nats per token"]))


@pytest.mark.parametrize("method", ["bert", "gpt"])
def test_the_held_out_text_is_measured_on_the_device_of_the_run_after_a_line_that_announces_it(
    method, corpus, cache, tmp_path, monkeypatch
):
    monkeypatch.setattr(TextEncoder, "cpu", lambda encoder: pytest.fail("taken off the device of the run"))
    console = Console(record=True, file=io.StringIO())
    selfstudy.pretrain(corpus, method=method, out=tmp_path / "run", console=console, **_settings(cache))
    first, then = (line for line in console.export_text().splitlines() if line.startswith("held out"))
    assert first.endswith("tokens to predict on cpu") and "bits per byte" in then


def test_held_out_figures_name_the_documents_for_any_tokenizer(runs, corpus, cache, tmp_path):
    settings = _settings(cache, **{"data.tokenizer": "wordpiece"})
    other = selfstudy.pretrain(corpus, method="gpt", out=tmp_path / "run", **settings)
    first, second = (
        [json.loads(line) for line in (run.folder / "evaluations.jsonl").read_text().splitlines()[:2]]
        for run in (runs["gpt"], other)
    )
    assert [line["data"] for line in first] == [line["data"] for line in second]
    assert [a["protocol"] == b["protocol"] for a, b in zip(first, second, strict=True)] == [True, False]


def test_all_runs_on_a_corpus_share_its_tokens(runs):
    prints = {json.loads((run.folder / "environment.json").read_text())["data_fingerprint"] for run in runs.values()}
    assert len(prints) == 1


def test_probes_are_compared_with_tf_idf_and_the_untrained_encoder(runs, reviews):
    results = runs["simcse"].evaluate(reviews / "train.tsv", test=reviews / "test.tsv")
    names = list(dict.fromkeys(score.features for score in results))
    assert names == ["TF-IDF bag of words", "LSA", "untrained encoder", "pretrained encoder"] and len(results) == 11
    assert results.accuracy("TF-IDF bag of words", "linear") > 80


def test_rankings_of_pairs_are_compared_with_tf_idf_and_the_untrained_encoder(runs, tmp_path):
    pairs = [("red ball", "red ball", 5), ("red ball", "large red ball", 4), ("red ball", "blue cup", 1)]
    pairs += [("green box", "green round box", 4), ("small cup", "square box", 0)]
    lines = ["sentence1\tsentence2\tscore", *("\t".join(map(str, pair)) for pair in pairs)]
    (tmp_path / "pairs.tsv").write_text("\n".join(lines) + "\n")
    results = runs["simcse"].evaluate(tmp_path / "pairs.tsv", probe=["sts"])
    rows = ["TF-IDF bag of words", "LSA", "untrained encoder", "pretrained encoder"]
    assert [score.features for score in results] == rows
    with pytest.raises(UsageError, match="probe sts trains nothing, so it cannot use test 'other.tsv'"):
        runs["simcse"].evaluate(tmp_path / "pairs.tsv", test="other.tsv", probe=["sts"])
    assert all(-100 <= score.accuracy <= 100 for score in results) and "%" not in str(results).split("\n\n")[0]


def test_embeddings_have_the_order_of_the_texts_for_any_batch_size(runs, corpus, tmp_path):
    encoder = runs["bert"].encoder
    texts = ["red ball", "a", "large green box. " * 20, "blue"]
    together, alone = encoder.embed(texts), np.concatenate([encoder.embed(text) for text in texts])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    rows = selfstudy.embed(runs["bert"].folder, corpus, tmp_path / "e.parquet")
    table = pq.read_table(tmp_path / "e.parquet")
    assert rows == len(table) == 12 and table["id"][0].as_py() == "00.txt"
    whole = encoder.embed((corpus / "00.txt").read_text())
    np.testing.assert_allclose(table["embedding"][0].as_py(), whole[0], atol=1e-5)


@pytest.mark.parametrize("method", ["bert", "gpt"])
def test_a_fine_tuned_text_encoder_is_compared_with_the_untrained_one(method, runs, reviews, tmp_path, monkeypatch):
    monkeypatch.setattr("selfstudy.text.evaluate.RECIPE", RECIPE._replace(epochs=1, steps=1))
    folder = shutil.copytree(runs[method].folder, tmp_path / "run")
    weights = folder / "encoder" / "model.safetensors"
    before = weights.read_bytes()
    probes = ["low-shot", "retrieval", "finetune"]
    results = selfstudy.evaluate(folder, reviews / "train.tsv", test=reviews / "test.tsv", probe=probes)
    tuned = [score for score in results if score.probe == "finetune"]
    assert [score.features for score in tuned] == ["untrained encoder", "pretrained encoder"]
    assert "1 epochs, batch 60, the first 24 tokens of a text, fp32" in tuned[0].protocol
    assert [score.probe for score in results if score.features == "TF-IDF bag of words"] == [
        *(f"low-shot-{shots}" for shots in (1, 5, 25)), "retrieval-map", "retrieval-recall-1", "retrieval-recall-5",
    ]  # fmt: skip
    assert weights.read_bytes() == before


@pytest.mark.parametrize("pad", [True, False])
def test_rows_are_encoded_for_training_as_for_embedding(pad, runs):
    encoder = runs["gpt"].encoder
    if not pad:
        encoder.encoder.vocabulary = encoder.encoder.vocabulary._replace(pad=None)
    rows = encoder.first_rows(["red ball", "blue", "red round ball " * 9])
    assert max(map(len, rows)) == 24  # a longer text fills one row
    embedded = encode_rows(encoder.encoder, rows)
    np.testing.assert_allclose(embedded[:2].detach().numpy(), encoder.embed(["red ball", "blue"]), atol=1e-5)
    embedded.square().sum().backward()
    assert all(parameter.grad is not None for parameter in encoder.encoder.network.base_model.parameters())


def test_labels_and_texts_are_read_from_the_columns_that_are_named(runs, reviews, tmp_path):
    pairs = [row.split("\t") for row in (reviews / "train.tsv").read_text().splitlines()]
    rows = [f"{label}\t-\t{text}\tno" for label, text in pairs]
    (tmp_path / "t.tsv").write_text("\n".join(["stars\tlabel\tremark\ttext", *rows]))
    arguments = ["evaluate", str(runs["simcse"].folder), str(tmp_path / "t.tsv"), "--probe", "linear"]
    named = ["--label-column", "stars", "--text-column", "remark"]
    found = CliRunner().invoke(app, [*arguments, *named], catch_exceptions=False).output
    assert float(re.search(r"TF-IDF bag of words +([\d.]+) ±", found)[1]) > 80  # the texts name their label
    with pytest.raises(
        UsageError, match="no column 'star'; did you mean 'stars'.*\nit has: stars, label, remark, text"
    ):
        runs["simcse"].evaluate(tmp_path / "t.tsv", label_column="star")
    with pytest.raises(UsageError, match="probe sts reads columns sentence1, sentence2 and score"):
        runs["simcse"].evaluate(tmp_path / "t.tsv", probe=["sts"], label_column="stars")
    with pytest.raises(UsageError, match="is a folder, which has no columns"):
        runs["simcse"].evaluate(tmp_path, text_column="1")


def test_texts_without_an_embedding_are_counted_and_listed_with_the_reason(runs, tmp_path):
    out, console = tmp_path / "e.parquet", Console(record=True, file=io.StringIO(), width=500)
    assert selfstudy.embed(runs["bert"].folder, ["red", " ", "\ud800", "blue", ""], out, console=console) == 2
    assert pq.read_table(out)["id"].to_pylist() == ["0", "3"]
    listed = [json.loads(line) for line in (tmp_path / "e.parquet.unreadable.jsonl").read_text().splitlines()]
    half = {"id": "2", "reason": "at byte 0: half of a surrogate pair"}
    assert listed == [half, {"id": "1", "reason": "blank"}, {"id": "4", "reason": "blank"}]
    assert f"left out 3; the reasons are in {out}.unreadable.jsonl" in console.export_text()
    (tmp_path / "a.txt").write_bytes(b"\xff")
    with pytest.raises(DataError, match="could be read; the reasons are in .*a.parquet.unreadable.jsonl"):
        selfstudy.embed(runs["bert"].folder, tmp_path / "a.txt", tmp_path / "a.parquet")
    with pytest.raises(RunFolderError, match="e.parquet exists already"):
        selfstudy.embed(runs["bert"].folder, ["red"], out)
    selfstudy.embed(runs["bert"].folder, ["red"], out, overwrite=True)
    assert not (tmp_path / "e.parquet.unreadable.jsonl").exists()


def test_documents_are_embedded_as_they_were_learnt_where_that_fits(runs, cache, tmp_path):
    rows = [f"much longer than the other column\t{word} ball" for word in WORDS]
    (tmp_path / "a.tsv").write_text("\n".join(["title\twords", *rows]))
    (tmp_path / "b.txt").write_text("red ball\nblue box\n")
    (tmp_path / "c.tsv").write_text("text\nred ball\n")
    settings = _settings(cache, **{"data.column": "words"}) | {"batch_size": 2}
    run = selfstudy.pretrain(tmp_path / "a.tsv", method="simcse", out=tmp_path / "run", **settings)
    assert run.embed(tmp_path / "a.tsv", tmp_path / "e.parquet") == len(WORDS)
    found = pq.read_table(tmp_path / "e.parquet")["embedding"][0].as_py()
    np.testing.assert_allclose(found, run.encoder.embed("red ball")[0], atol=1e-5)
    for data in (tmp_path / "b.txt", tmp_path / "c.tsv", ["red"]):
        console = Console(record=True, file=io.StringIO(), width=500)
        assert selfstudy.embed(run.folder, data, tmp_path / "e.parquet", overwrite=True, console=console) == 1
        assert "not read as in the run" in console.export_text()
    (tmp_path / "d.txt").write_text("\n".join(f"{word} ball" for word in WORDS))
    settings = _settings(cache, **{"data.documents": "line"}) | {"batch_size": 2, "steps": 1}
    run = selfstudy.pretrain(tmp_path / "d.txt", method="simcse", out=tmp_path / "lines", **settings)
    assert run.embed(tmp_path / "b.txt", tmp_path / "f.parquet") == 2


def test_a_run_on_a_table_writes_down_the_column_it_found_and_resumes(cache, tmp_path):
    (tmp_path / "a.csv").write_text("\n".join(["title,review", *(f"{n},{word} ball" for n, word in enumerate(WORDS))]))
    begun = {"method": "simcse", "out": tmp_path / "run", **_settings(cache) | {"batch_size": 2}}
    selfstudy.pretrain(tmp_path / "a.csv", **begun)
    written = (tmp_path / "run" / "config.yaml").read_text()
    assert "column: review  # a usual name of texts" in written
    (tmp_path / "run" / "config.yaml").write_text(written.replace("column: review", "column: auto"))  # an older run
    selfstudy.pretrain(tmp_path / "a.csv", resume=True, **begun | {"steps": 4})
    assert "column: review  #" in (tmp_path / "run" / "config.yaml").read_text()


def test_a_long_text_is_the_mean_of_its_pieces_by_their_length(runs):
    encoder = runs["bert"].encoder
    room = 22  # of 24, less the class token and the separator
    text = "red round ball " * 3
    pieces = [text[:room], text[room : 2 * room], text[2 * room :]]
    weights = [len(piece) + 2 for piece in pieces if piece]
    wanted = np.average([encoder.embed(piece)[0] for piece in pieces if piece], axis=0, weights=weights)
    np.testing.assert_allclose(encoder.embed(text)[0], wanted, atol=1e-5)


def test_masks_are_filled_with_tokens_and_their_probabilities(runs):
    first, second = selfstudy.fill(runs["bert"].folder, "red [MASK]all and [MASK]", top=3)
    assert len(first) == len(second) == 3
    assert first[0].probability >= first[1].probability and first[0].text == f"red {first[0].token}all and [MASK]"
    with pytest.raises(UsageError, match="has no \\[MASK\\]"):
        selfstudy.fill(runs["bert"].folder, "red ball")
    everything = selfstudy.fill(runs["bert"].folder, "red [MASK]", top=10_000)[0]
    assert sum(guess.probability for guess in everything) == pytest.approx(1)
    with pytest.raises(UsageError, match="top 0 asks for no guesses"):
        selfstudy.fill(runs["bert"].folder, "red [MASK]", top=0)
    with pytest.raises(UsageError, match="filling in masks needs a run of bert"):
        selfstudy.fill(runs["gpt"].folder, "red [MASK]")


def test_a_text_is_filled_in_whole_or_refused(runs):
    fits = "x" * 21 + "[MASK]"  # 22 tokens: rows have 24, two of them the class token and the separator
    assert len(selfstudy.fill(runs["bert"].folder, fits, top=1)) == 1
    for length in (22, 23, 24):
        with pytest.raises(UsageError, match=f"the text has {length + 1} tokens, a row of the encoder has room for 22"):
            selfstudy.fill(runs["bert"].folder, "[MASK]" + "x" * length)


def test_completions_begin_with_the_prompt_and_follow_the_seed(runs):
    folder = runs["gpt"].folder
    one, again, other = (selfstudy.complete(folder, "red ball", tokens=30, seed=seed) for seed in (1, 1, 2))
    assert one == again != other and one.startswith("red ball")
    assert selfstudy.complete(folder, "red", tokens=5, temperature=0) == selfstudy.complete(
        folder, "red", tokens=5, temperature=0, seed=9
    )
    with pytest.raises(UsageError, match="continuing a text needs a run of gpt"):
        selfstudy.complete(runs["bert"].folder, "red")


def test_exports_open_in_transformers_with_nothing_missing(runs, tmp_path):
    import transformers as hf

    for method, auto in (("bert", "AutoModelForMaskedLM"), ("gpt", "AutoModelForCausalLM"), ("simcse", "AutoModel")):
        result = runs[method].export("transformers", tmp_path / method)
        assert result.max_abs_difference <= 1e-5 and auto in result.usage
        network, report = getattr(hf, auto).from_pretrained(tmp_path / method, output_loading_info=True)
        assert not report["missing_keys"] and not report["unexpected_keys"]
        tokenizer = hf.AutoTokenizer.from_pretrained(tmp_path / method)
        encoder = runs[method].encoder
        ids = tokenizer("red ball", return_tensors="pt")["input_ids"]
        assert tokenizer.decode(ids[0], skip_special_tokens=True).replace(" ", "") == "redball"
        if method == "simcse":
            states = network(input_ids=ids).last_hidden_state.mean(dim=1)
            np.testing.assert_allclose(states.detach().numpy(), encoder.embed("red ball"), atol=1e-5)


@pytest.mark.parametrize("target", ["transformers", "sentence-transformers"])
def test_an_export_does_not_overwrite_the_encoder_of_a_run(target, runs):
    files = {file: file.read_bytes() for file in (runs["bert"].folder / "encoder").iterdir()}
    for out in (runs["bert"].folder / "encoder", runs["bert"].folder):
        with pytest.raises(RunFolderError, match="holds the encoder of a run"):
            runs["bert"].export(target, out)
    assert {file: file.read_bytes() for file in (runs["bert"].folder / "encoder").iterdir()} == files


@pytest.mark.parametrize("tokenizer", ["char", "bpe", "wordpiece"])
def test_the_pipeline_of_transformers_fills_in_as_we_do(tokenizer, corpus, cache, tmp_path):
    import transformers as hf

    settings = _settings(cache, **{"data.tokenizer": tokenizer, "optimizer.lr": 0.1}) | {"steps": 20}
    run = selfstudy.pretrain(corpus, method="bert", out=tmp_path / "run", **settings)
    run.export("transformers", tmp_path / "bert")
    pipeline = hf.pipeline("fill-mask", str(tmp_path / "bert"))
    for text in ("red [MASK] ball", "red [MASK]all", "[MASK] ball", "red round [MASK]"):
        theirs, ours = pipeline(text, top_k=3), selfstudy.fill(run.folder, text, top=3)[0]
        found = [guess["token_str"] for guess in theirs]
        assert [token.strip() or token for token in found] == [guess.token for guess in ours]
        np.testing.assert_allclose([g["score"] for g in theirs], [g.probability for g in ours], rtol=1e-5)


def test_the_pipeline_of_transformers_continues_texts(runs, tmp_path):
    import transformers as hf

    runs["gpt"].export("transformers", tmp_path / "gpt")
    text = hf.pipeline("text-generation", str(tmp_path / "gpt"))("red ball", max_new_tokens=5, do_sample=False)
    assert text[0]["generated_text"].startswith("red ball")


@pytest.mark.parametrize("method", ["bert", "gpt", "simcse", "electra"])
def test_a_run_that_lost_its_end_ends_with_the_same_weights(method, corpus, cache, tmp_path):
    settings = _settings(cache, **{"train.checkpoint_every": "2 steps"}) | {"steps": 4}
    run = selfstudy.pretrain(corpus, method=method, out=tmp_path / "run", **settings)
    weights = run.folder / "encoder" / "model.safetensors"
    before = weights.read_bytes()
    shutil.rmtree(run.folder / "encoder")
    shutil.rmtree(max((run.folder / "checkpoints").glob("step-*")))
    selfstudy.pretrain(corpus, method=method, out=run.folder, resume=True, **settings)
    assert weights.read_bytes() == before


def test_the_health_of_simcse_is_read_while_it_trains(corpus, cache, tmp_path):
    """If rows have the maximum length, the rows of simcse and their draws have one shape."""
    settings = _settings(cache, **{"health.every": 1, "data.context": 8})
    run = selfstudy.pretrain(corpus, method="simcse", out=tmp_path / "run", **settings)
    assert len((run.folder / "health.jsonl").read_text().splitlines()) == QUICK["steps"]


def test_simcse_may_begin_from_a_run_of_bert(runs, corpus, cache, tmp_path):
    begin = {"encoder.name": str(runs["bert"].folder / "encoder"), "data.cache": str(cache), "data.context": 24}
    run = selfstudy.pretrain(corpus, method="simcse", out=tmp_path / "run", set=begin, **QUICK)
    assert run.encoder.embed("red ball").shape == (1, 16)
    assert digest(run.encoder.tokenizer) == digest(runs["bert"].encoder.tokenizer)
    assert "tokenizer.json  # the encoder's own" in (run.folder / "config.yaml").read_text()


def test_an_encoder_keeps_its_tokenizer_and_its_shape(runs, corpus, cache, tmp_path):
    def refused(**more):
        begin = {"encoder.name": str(encoder), "data.cache": str(cache), "data.context": 24}
        given = begin | {key.replace("__", "."): value for key, value in more.items()}
        with pytest.raises(UsageError) as caught:
            selfstudy.pretrain(corpus, method="bert", out=tmp_path / "run", set=given, **QUICK)
        return str(caught.value)

    encoder = runs["bert"].folder / "encoder"
    assert "knows only its own ids" in refused(data__tokenizer="bpe")
    assert "encoder.depth: the network in" in refused(encoder__depth=3)
    other = tmp_path / "tokenizer.json"
    other.write_text(train_tokenizer(["another text"], kind="byte", vocab_size="auto", corpus_bytes=12).to_str())
    assert f"data.tokenizer {other}: differs from the tokenizer of the encoder" in refused(data__tokenizer=str(other))
    bare = shutil.copytree(encoder, tmp_path / "bare")
    (bare / "tokenizer.json").unlink()
    encoder = bare
    assert "give its tokenizer.json" in refused()
    assert "a tokenizer of " in refused(data__tokenizer=str(other))


def test_a_changed_encoder_is_refused(runs, tmp_path):
    shutil.copytree(runs["bert"].folder / "encoder", tmp_path / "encoder")
    weights = tmp_path / "encoder" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\\0")
    with pytest.raises(FileRefusedError, match="its digest is not the one in selfstudy.json"):
        selfstudy.load(tmp_path / "encoder")


def test_what_does_not_fit_is_refused_in_a_line(corpus, cache, runs, tmp_path):
    with pytest.raises(UsageError, match="unknown text encoder 'resnet18'"):
        selfstudy.pretrain(corpus, method="bert", encoder="resnet18", out=tmp_path / "a", **QUICK)
    with pytest.raises(UsageError, match="BERT cannot train an encoder that sees what came before"):
        selfstudy.pretrain(corpus, method="bert", encoder="llama-tiny", out=tmp_path / "b", **QUICK)
    first = _settings(cache, **{"encoder.pool": "cls"})
    for number, (method, name) in enumerate([("gpt", "gpt2-tiny"), ("simcse", "llama-tiny")]):
        with pytest.raises(
            UsageError, match=f"encoder.pool cls: the first token in '{name}' does not see the others\nuse mean"
        ):
            selfstudy.pretrain(corpus, method=method, encoder=name, out=tmp_path / f"d{number}", **first)
    with pytest.raises(UsageError, match="unknown export target 'timm' of a run on text"):
        runs["bert"].export("timm", tmp_path / "c")
    with pytest.raises(UsageError, match="is a run on text"):
        runs["bert"].inspect(corpus)


def test_a_cache_that_cannot_be_made_is_the_fault_of_the_machine(corpus, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    with pytest.raises(EnvironmentFault, match=r"cannot make .* for tokens: Not a directory\nname another folder"):
        selfstudy.pretrain(corpus, method="bert", out=tmp_path / "run", **_settings(tmp_path / "file"))

    def homeless():
        raise RuntimeError("Could not determine home directory.")

    for name in ("SELFSTUDY_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pathlib.Path.home", homeless)
    with pytest.raises(EnvironmentFault, match="no home folder for a cache\nname a folder: SELFSTUDY_CACHE=FOLDER"):
        selfstudy.pretrain(corpus, method="bert", out=tmp_path / "run", **_settings("auto"))


def test_the_command_line_says_the_same(runs):
    result = CliRunner().invoke(app, ["fill", str(runs["bert"].folder), "red [MASK]all"], catch_exceptions=False)
    assert result.exit_code == 0 and result.output.count("%") == 5
    command = ["complete", str(runs["gpt"].folder), "red", "--tokens", "4"]
    assert CliRunner().invoke(app, command, catch_exceptions=False).output.startswith("red")
