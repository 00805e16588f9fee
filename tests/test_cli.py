"""Tests of the command line from a user's view: real processes, exit codes, texts."""

import errno
import inspect
import os
import signal
import subprocess
import sys
import time

import pytest
from PIL import Image

import selfstudy
from selfstudy import cli
from selfstudy.cli import main
from selfstudy.modalities import SETTINGS
from selfstudy.probes import available
from selfstudy.runs.settings import gather, keywords_of
from tests.installed import install

SELFSTUDY = [sys.executable, "-m", "selfstudy.cli"]
QUICK = ["--encoder", "resnet10t", "--image-size", "16", "--batch-size", "8", "--device", "cpu", "--precision", "fp32"]


def _run(*arguments, **options):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*SELFSTUDY, *map(str, arguments)], capture_output=True, text=True, env=environment, **options
    )


def _main(monkeypatch, *arguments):
    """Return the exit code of the command line, run in this process."""
    monkeypatch.setattr(sys, "argv", ["selfstudy", *map(str, arguments)])
    with pytest.raises(SystemExit) as left:
        main()
    return left.value.code


def test_help_does_not_import_torch():
    code = (
        "import sys\nfrom selfstudy.cli import app\nfrom typer.testing import CliRunner\n"
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0\n"
        "assert not [m for m in sys.modules if m.split('.')[0] in ('torch', 'numpy', 'timm', 'sklearn')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_opening_the_api_does_not_import_what_only_probes_of_text_and_reports_need():
    code = "import sys, selfstudy.api; assert not {'sklearn', 'selfstudy.report.figures'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(("command", "word"), [("methods", "simclr"), ("encoders", "resnet18"), ("samples", "fashion")])
def test_the_lists_name_methods_encoders_and_samples(command, word):
    result = _run(command)
    assert result.returncode == 0 and word in result.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["pretrain", "nowhere"], 2, "'nowhere' does not exist"),
        (["pretrain", "sample:digits", "--method", "simcrl"], 2, "did you mean 'simclr'"),
        (
            ["pretrain", "sample:digits", "--batch-size", "many"],
            2,
            "'train.batch_size': got 'many'; input should be 'auto' or a valid integer",
        ),
        (["pretrain", "sample:digits", "--set", "x"], 2, "is not of the form key=value"),
        (["pretrain", "sample:digits", "--device", "cuda"], 5, "is not available"),
        (["evaluate", "nowhere", "sample:digits"], 2, "is not a run folder"),
        (["pretrain", "sample:digits", "--set", "method.temprature=1"], 2, "did you mean 'temperature'"),
        (["pretrain", "sample:digits", "--encoder", "resnet1"], 2, "unknown encoder 'resnet1'; did you mean"),
        (["pretrain", "sample:digits", "--set", "x=[e"], 2, "not readable as YAML"),
        (["pretrain", "sample:digits", "--views", "foo"], 2, "unknown views 'foo'\nknown: none, weak, strong"),
        (["pretrain", "sample:digits", "--set", "train.checkpoint_every=auto"], 2, "not a positive number and a unit"),
        (["pretrain", "sample:digits", "--set", "optimizer.weight_decay=-1"], 2, "greater than or equal to 0"),
        (["pretrain", "sample:digits", "--set", "method=5"], 2, "setting 'method': got 5, a group of settings"),
        (["embed", "nowhere", "sample:digits"], 7, "the folder nowhere does not exist"),
    ],
)
def test_mistakes_end_with_one_message_and_their_code(tmp_path, monkeypatch, capsys, arguments, code, text):
    monkeypatch.chdir(tmp_path)
    assert _main(monkeypatch, *arguments) == code
    errors = capsys.readouterr().err
    assert text in errors and "Traceback" not in errors


def test_a_mistake_is_the_exit_code_of_the_real_process(tmp_path):
    result = _run("pretrain", "nowhere", cwd=tmp_path)
    assert result.returncode == 2 and result.stderr.startswith("selfstudy: 'nowhere' does not exist\n")


def test_the_version_is_printed(monkeypatch, capsys):
    assert _main(monkeypatch, "--version") == 0
    assert capsys.readouterr().out.strip() == selfstudy.__version__


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "runs/a/metrics.jsonl"), 5, "metrics.jsonl: No space left"),
        (MemoryError(), 5, "out of memory: MemoryError\nuse a smaller --batch-size"),
        (ValueError("what nobody foresaw"), 1, "internal error: ValueError: what nobody foresaw\nthis is a bug"),
    ],
)
def test_what_the_machine_refuses_is_no_bug_of_ours(monkeypatch, capsys, error, code, text):
    def refuse(*arguments, **settings):
        raise error

    monkeypatch.setattr("selfstudy.api.pretrain", refuse)
    assert _main(monkeypatch, "pretrain", "sample:digits") == code
    assert text in capsys.readouterr().err


def _options(command):
    """The parameters of a command by name, with Typer's description of each."""
    return {
        name: (parameter.annotation.__args__[0], parameter.annotation.__metadata__[0])
        for name, parameter in inspect.signature(command).parameters.items()
    }


def test_pretrain_and_recipe_have_an_option_for_every_keyword_of_the_table():
    known = keywords_of(SETTINGS)
    pretrain, recipe = _options(cli.pretrain), _options(cli.recipe)
    assert pretrain.keys() == known.keys() | {"data", "out", "config", "set_", "eval_", "resume", "overwrite"}
    assert recipe.keys() == known.keys() | {"data", "config", "set_"}
    for name, (keyword, row) in known.items():
        known_modalities = " Known: images, text." if name == "modality" else ""
        assert recipe[name][1].help == pretrain[name][1].help == (keyword.help or row.description) + known_modalities
        assert pretrain[name][0] == keyword.kind | None


def test_the_help_of_an_option_shows_its_choices(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "200")
    assert _main(monkeypatch, "recipe", "--help") == 0
    shown = capsys.readouterr().out
    for text in ("--precision <auto|fp32|bf16>", "--image-size <auto|int>", "--steps <int>", "--minutes <float>"):
        assert text in shown
    assert "small also has a stride-1 first convolution" in " ".join(shown.split())


def test_options_arrive_as_settings(monkeypatch, capsys):
    given = {}
    monkeypatch.setattr("selfstudy.api.recipe", lambda data, **settings: given.update(settings) or "")
    arguments = [
        "--batch-size",
        "16",
        "--epochs",
        "2",
        "--held-out",
        "0.1",
        "--set",
        "train.keep=3",
        "--set",
        "train.seed=4",
    ]
    _main(monkeypatch, "recipe", "corpus", *arguments)
    assert {name: value for name, value in given.items() if value is not None} == {
        "batch_size": "16",
        "epochs": 2.0,
        "held_out": "0.1",
        "set": {"train.keep": 3, "train.seed": 4},
    }


def test_debug_shows_the_trace(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert _main(monkeypatch, "--debug", "pretrain", "nowhere") == 2
    assert "Traceback" in capsys.readouterr().err
    assert _main(monkeypatch, "pretrain", "nowhere") == 2
    assert "Traceback" not in capsys.readouterr().err


def test_too_few_images_never_succeed(tmp_path, monkeypatch, capsys):
    for number in range(3):
        Image.new("RGB", (16, 16)).save(tmp_path / f"{number}.png")
    assert _main(monkeypatch, "pretrain", tmp_path, "--steps", 2, "--out", tmp_path / "run", *QUICK) == 3
    assert "found 3 usable images, batch size 8" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow)]
)
def test_a_signal_checkpoints_and_ends_with_its_code_and_the_run_resumes(tmp_path, number, code):
    command = [*SELFSTUDY, "pretrain", "sample:digits", "--out", str(tmp_path / "run"), *QUICK]
    process = subprocess.Popen(
        [*command, "--steps", "150"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    for line in process.stdout:
        if line.startswith("step"):
            break
    time.sleep(0.1)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code and "a checkpoint was written" in errors
    second = _run(*command[3:], "--resume")
    assert second.returncode == 0, second.stderr
    assert "from step" in second.stdout and "done     150 steps" in second.stdout


@pytest.mark.slow
def test_two_processes_are_kept_apart(tmp_path):
    command = [*SELFSTUDY, "pretrain", "sample:digits", "--out", str(tmp_path / "run"), *QUICK, "--steps", "5000"]
    first = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    for line in first.stdout:
        if line.startswith("step"):
            break
    second = _run("pretrain", "sample:digits", "--out", tmp_path / "run", *QUICK, "--steps", "5000", "--resume")
    first.kill()
    first.communicate()
    assert second.returncode == 6
    assert f"process {first.pid}" in second.stderr


def test_set_takes_mappings_keeps_the_rest_of_a_group_and_reaches_into_a_mapping():
    nested = {"optimizer": {"schedule": "cosine", "lr": 1.0}, "data": {"views": "own"}}
    texts = [
        "optimizer.schedule={name: wsd}",
        "optimizer.schedule.decay=0.2",
        "data.views={crop: {}}",
        "train={seed: 3}",
    ]
    built = gather("x", nested, keywords={"set": cli._overrides(texts)}, models=SETTINGS)
    assert built["optimizer"] == {"schedule": {"name": "wsd", "decay": 0.2}, "lr": 1.0}
    assert built["data"]["views"] == {"crop": {}} and built["train"] == {"seed": 3}


def test_the_help_of_evaluate_lists_every_probe_and_the_origin_of_those_of_other_packages(tmp_path):
    install(tmp_path, "more-probes", "0.4", {"selfstudy.probes": {"nearest-centroid": "absent_module:measure"}})
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path, "COLUMNS": "200"}
    result = subprocess.run([*SELFSTUDY, "evaluate", "--help"], capture_output=True, text=True, env=environment)
    ours = ", ".join(name for name, entry in available().items() if entry.origin == "selfstudy")
    text = " ".join(result.stdout.replace("|", " ").replace("│", " ").split())
    assert f"Comma-separated: {ours}, nearest-centroid (more-probes 0.4); sts only by itself." in text


@pytest.mark.parametrize("evaluated", [False, True])
def test_pretrain_ends_with_commands_for_what_comes_next(monkeypatch, capsys, tmp_path, evaluated):
    given = {}

    def pretrain(data, **settings):
        given.update(settings)
        return selfstudy.Run(tmp_path / "run[0]")

    monkeypatch.setattr("selfstudy.api.pretrain", pretrain)
    assert _main(monkeypatch, "pretrain", "photos", *(["--eval", "labelled"] if evaluated else [])) == 0
    assert given["eval"] == ("labelled" if evaluated else None)
    run, *more = capsys.readouterr().out.splitlines()
    folder = tmp_path / "run[0]"
    assert run == f"run      {folder}  (on one page: selfstudy report {folder})"
    measure = f"measure  selfstudy evaluate {folder} LABELLED"
    assert more == [*([] if evaluated else [measure]), f"use      selfstudy embed {folder} photos"]
