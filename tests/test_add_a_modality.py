"""Tests that run the example of docs/add_a_modality.md unchanged, as an installed package, through the command line."""

import importlib
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from rich.console import Console
from typer.testing import CliRunner

import selfstudy
from selfstudy import modalities
from selfstudy.cli import app
from selfstudy.data.batches import Shard
from selfstudy.disk.tensor_file import read_tensors
from selfstudy.errors import DataError, UsageError
from selfstudy.methods import available
from selfstudy.ops.schedules import Progress
from tests.installed import install

PAGE = (Path(__file__).parent.parent / "docs" / "add_a_modality.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
NAME, VERSION = re.search(r'^name = "(.*)"\nversion = "(.*)"$', PAGE, flags=re.MULTILINE).groups()
POINTS = {  # by group, the name and the target
    group: (name.strip('"'), target)
    for group, name, target in re.findall(r'entry-points\."(.*)"\]\n(.*) = "(.*)"\n', PAGE)
}
MODALITY, *SIGNALS, DATA = PYTHON  # in the order of the page
COMMANDS = re.search(r"```sh\n(.*?)```", PAGE, flags=re.DOTALL).group(1).splitlines()
CACHES = (modalities.available, modalities.named, modalities.usable, modalities.exports)


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """Install the package of the page: its files, and the metadata that pip writes."""
    folder = tmp_path_factory.mktemp("installed")
    (folder / "selfstudy_signals").mkdir()
    files = {"__init__": "", "modality": MODALITY, "signals": "\n\n".join(SIGNALS)}
    for name, code in files.items():
        (folder / "selfstudy_signals" / f"{name}.py").write_text(code, encoding="utf-8")
    (folder / "signals_onnx.py").write_text("def export(encoder, out): ...\n", encoding="utf-8")
    name, target = POINTS["selfstudy.modalities"]
    install(folder, NAME, VERSION, {"selfstudy.modalities": {name: target}})
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        _forget()
        yield folder
    _forget()
    for name in [name for name in sys.modules if name.partition(".")[0] == "selfstudy_signals"]:
        del sys.modules[name]


def _forget():
    for cached in CACHES:
        cached.cache_clear()


@pytest.fixture
def folder(package, tmp_path, monkeypatch):
    """A working directory with the data of the page."""
    monkeypatch.chdir(tmp_path)
    exec(compile(DATA, "page", "exec"), {})
    return tmp_path


def run(command):
    result = CliRunner().invoke(app, shlex.split(command)[1:], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def pretrain(**settings):
    quick = {"method": "simclr", "steps": 2, "batch_size": 32, "out": "run"} | settings
    return selfstudy.pretrain("waves.npz", modality="signals", **quick)


def test_the_package_is_as_short_as_the_page_says():
    code = ["", MODALITY, "\n\n".join(SIGNALS)]
    lines = sum(text.count("\n") for text in code)
    assert f"{lines} lines" in " ".join(PAGE.split()) and lines <= 300


def test_the_commands_of_the_page_work(folder):
    outputs = [run(line.replace("--epochs 100", "--steps 3").replace("--epochs 150", "--steps 5")) for line in COMMANDS]
    assert "signals (768, 3, 128)" in outputs[0] and "signals/s" in outputs[0]
    rows = ("raw signals", "untrained encoder", "pretrained encoder")
    assert all(re.search(rf"^{row}( +\d+\.\d( ±\d+\.\d)? %){{3}}$", outputs[1], flags=re.MULTILINE) for row in rows)
    assert "768 train, 256 test signals" in outputs[1]
    assert "1,024 embeddings in waves.parquet" in outputs[2]
    assert "from step 3" in outputs[3] and "step 5/5" in outputs[3]
    assert (folder / "runs" / "waves" / "report.html").is_file()


def test_an_embedding_is_the_output_of_the_loaded_encoder(folder):
    trained = pretrain()
    trained.embed("waves.npz", "waves.parquet")
    table, arrays, loaded = pq.read_table("waves.parquet"), np.load("waves.npz"), trained.encoder
    written = read_tensors(trained.folder / "encoder" / "model.safetensors")
    assert all(torch.equal(tensor, written[name]) for name, tensor in loaded.encoder.state_dict().items())
    expected = loaded.embed(arrays["signals"])
    assert not np.allclose(expected, type(loaded)(loaded.about).embed(arrays["signals"]))  # the untrained encoder
    assert expected.shape == (1024, 128) and np.isfinite(expected).all()
    np.testing.assert_allclose(np.stack(table["embedding"].to_numpy()), expected, rtol=0, atol=0)
    assert table["label"].to_pylist() == arrays["labels"].tolist() and table["id"].to_pylist()[-1] == "1023"


def test_a_run_that_lost_its_end_resumes_to_the_same_weights(folder):
    settings = {"steps": 4, "set": {"train.checkpoint_every": "2 steps", "train.keep": 3}}
    weights = pretrain(**settings).folder / "encoder" / "model.safetensors"
    before = weights.read_bytes()
    *_, last = sorted((folder / "run" / "checkpoints").glob("step-*4"))
    shutil.rmtree(last)
    weights.unlink()
    pretrain(**settings, resume=True)
    assert weights.read_bytes() == before


def test_resume_refuses_other_signals(folder):
    pretrain()
    arrays = dict(np.load("waves.npz"))
    np.savez("waves.npz", **(arrays | {"signals": arrays["signals"][::-1]}))
    with pytest.raises(DataError, match="the data is not what this run began with: 768 inputs then, 768 now"):
        pretrain(steps=3, resume=True)


def test_the_test_can_lie_in_a_file_of_its_own_or_be_a_fifth(folder):
    trained, arrays = pretrain(), dict(np.load("waves.npz"))
    np.savez("a.npz", signals=arrays["signals"], labels=arrays["labels"])
    np.savez("b.npz", signals=arrays["signals"][:64], labels=arrays["labels"][:64])
    apart = trained.evaluate("a.npz", test="b.npz", probe=["knn"])
    assert {"1,024 train / 64 test" in score.protocol for score in apart} == {True}
    fifth = trained.evaluate("a.npz", probe=["knn"])
    assert {bool(re.search(r"8[12]\d train / 20\d test", score.protocol)) for score in fifth} == {True}


def test_whitening_and_readings_with_labels_are_refused_in_a_line(folder):
    trained = pretrain()
    for refused in (
        lambda: trained.embed("waves.npz", "a.parquet", whiten=True),
        lambda: selfstudy.whiten(trained.folder, "x"),
    ):
        with pytest.raises(UsageError, match="encoders of signals have no whitening statistics\nleave whiten out"):
            refused()
    with pytest.raises(
        UsageError, match="^runs on signals cannot be read with labels while they train; leave eval out$"
    ):
        pretrain(eval="waves.npz", overwrite=True)


def test_a_probe_that_needs_more_than_features_is_refused(folder):
    with pytest.raises(UsageError, match="probe finetune cannot be asked of labelled signals\nask for knn alone"):
        pretrain().evaluate("waves.npz", probe=["knn", "finetune"])


def test_signals_without_labels_are_embedded_and_not_evaluated(folder):
    np.savez("plain.npz", signals=np.load("waves.npz")["signals"][:8])
    trained = pretrain()
    assert trained.embed("plain.npz", "plain.parquet") == 8
    assert "label" not in pq.read_table("plain.parquet").column_names
    with pytest.raises(DataError, match="plain.npz has no labels\nsave them as an array 'labels'"):
        trained.evaluate("plain.npz")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"labels": np.zeros(4)}, r"bad.npz holds \{'labels': \(4,\)\}\nsave finite signals \(N, C, T\)"),
        ({"signals": np.zeros((4, 9))}, r"bad.npz holds \{'signals': \(4, 9\)\}"),
        ({"signals": np.full((4, 1, 9), np.nan)}, "save finite signals"),
        ({"signals": np.zeros((4, 1, 9)), "labels": np.zeros(3)}, r"'labels': \(3,\)"),
        ({"signals": np.array([None, 1])}, "bad.npz is damaged: Object arrays cannot be loaded"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(folder, arrays, message):
    np.savez("bad.npz", **arrays)
    with pytest.raises(DataError, match=message):
        selfstudy.pretrain("bad.npz", modality="signals", out="bad")


def test_the_page_counts_the_methods_that_learn_from_signals(folder):
    signals = importlib.import_module("selfstudy_signals.signals")
    learnt, refused = [], r"\w+ needs (tokens|labels|text|draws|images), and these data only have views\nuse a method"
    for name in available():
        settings = {"modality": "signals", "method": name, "batch_size": 32, "steps": 300}
        config = modalities.configured("waves.npz", {}, settings)
        try:
            work = signals.SignalWork("waves.npz", config, Console(quiet=True))
        except UsageError as error:
            assert re.match(refused, str(error))
            continue
        resolved = work.resolve()
        data, render = work.batches(resolved, Shard())
        loss = work.build_method(resolved)(render(data[0], torch.device("cpu")), Progress(0, 300)).loss
        assert loss.isfinite(), name
        learnt.append(name)
    assert {"simclr", "vicreg"} < set(learnt)
    assert f"SimCLR, VICReg and {len(learnt) - 2} other methods" in " ".join(PAGE.split())


def test_the_lists_name_the_package(package):
    assert "signals  selfstudy-signals 0.1 · exports: none\n" in PAGE
    assert "signals  selfstudy-signals 0.1 · exports: none" in run("selfstudy modalities").splitlines()
    help_text = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import sys; sys.path.insert(0, {str(package)!r}); from selfstudy.cli import main; main()",
        ]
        + ["pretrain", "--help"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "Known: images, text, signals (selfstudy-signals 0.1)." in " ".join(help_text.split())


def test_an_export_of_the_package_is_found_by_its_name(package, monkeypatch):
    name, target = POINTS["selfstudy.exports"]
    assert (name, target) == ("signals.onnx", "selfstudy_signals.onnx:export")
    with pytest.raises(UsageError, match="unknown export target 'onnx' of a run on signals\nknown: none"):
        modalities.exporter(modalities.named("signals"), "onnx")
    (points,) = package.glob("*.dist-info/entry_points.txt")
    before = points.read_text(encoding="utf-8")
    points.write_text(f"{before}[selfstudy.exports]\n{name} = signals_onnx:export\n", encoding="utf-8")
    try:
        _forget()
        assert modalities.exporter(modalities.named("signals"), "onnx").__module__ == "signals_onnx"
        assert "exports: onnx (selfstudy-signals 0.1)" in run("selfstudy modalities")
    finally:
        points.write_text(before, encoding="utf-8")
        _forget()


@pytest.mark.slow
def test_the_numbers_of_the_page_are_what_the_commands_print(folder):
    train, evaluate, *_ = COMMANDS
    run(train)
    output = run(evaluate)
    for name, *numbers in re.findall(
        r"^\| (.* (?:signals|encoder)) \| ([\d.]+) % \| ([\d.]+) % \|$", PAGE, re.MULTILINE
    ):
        cell = r" +([\d.]+)(?: ±[\d.]+)? %"  # k-NN, whitened k-NN and linear
        plain, _, linear = re.search(rf"^{name}{3 * cell}$", output, re.MULTILINE).groups()
        printed = (plain, linear)
        assert list(map(float, printed)) == pytest.approx(list(map(float, numbers)), abs=3), name
