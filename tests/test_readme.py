"""Tests that run the commands and the Python of the README; only the training is shorter."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from selfstudy.cli import app
from selfstudy.methods import available

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
QUICK = "--steps 2 --encoder resnet10t --image-size 16 --batch-size 8"
QUICK_TEXT = "--steps 2 --batch-size 2 --context 16 --set encoder.width=16 --set data.cache=cache"


def _blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A working directory with the folders that the README names."""
    chance = np.random.default_rng(0)
    for name in ("photos/a.jpg", "photos/b.png", *(f"photos/{n}.png" for n in range(8))):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(chance.integers(0, 256, (20, 20, 3), dtype=np.uint8)).save(tmp_path / name)
    for part in ("labelled/train", "labelled/test"):
        for number in range(8):
            path = tmp_path / part / ("cat" if number % 2 else "dog") / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(chance.integers(0, 256, (20, 20, 3), dtype=np.uint8)).save(path)
    (tmp_path / "corpus").mkdir()
    for number in range(8):
        words = " ".join(chance.choice(["a", "red", "ball", "is", "round", "Paris", "France"], 60))
        (tmp_path / "corpus" / f"{number}.txt").write_text(words)
    (tmp_path / "reviews").mkdir()
    for part in ("train", "test"):
        rows = [f"{label}\ta {label} red ball {number}" for number in range(10) for label in ("good", "bad")]
        (tmp_path / "reviews" / f"{part}.tsv").write_text("\n".join(rows) + "\n")
    (tmp_path / "texts.csv").write_text("text\na red ball\nParis is round\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_commands_work_one_after_the_other(workplace):
    commands = [line for line in (_blocks("sh")[0] + _blocks("sh")[2]).splitlines() if line.startswith("selfstudy")]
    assert [command.split()[1] for command in commands] == ["pretrain", "embed", "evaluate", "report", "export"]
    for command in commands:
        quick = command.replace("--minutes 30", QUICK)
        result = CliRunner().invoke(app, shlex.split(quick)[1:], catch_exceptions=False)
        assert result.exit_code == 0, result.output
    assert (workplace / "embeddings.parquet").is_file() and (workplace / "exported" / "model.onnx").is_file()


def test_the_commands_for_text_work_one_after_the_other(workplace):
    commands = [line for line in _blocks("sh")[3].splitlines() if line.startswith("selfstudy")]
    names = ["pretrain", "pretrain", "evaluate", "fill", "complete", "embed", "export"]
    assert [command.split()[1] for command in commands] == names
    for command in commands:
        quick = command.replace("--minutes 20", QUICK_TEXT)
        result = CliRunner().invoke(app, shlex.split(quick)[1:], catch_exceptions=False)
        assert result.exit_code == 0, result.output
    assert (workplace / "vectors.parquet").is_file() and (workplace / "hf" / "model.safetensors").is_file()


def test_the_python_works(workplace):
    first, second = _blocks("python")
    quick = first.replace('encoder="resnet18", minutes=30', 'encoder="resnet10t", image_size=16, batch_size=8, steps=2')
    assert quick != first
    names: dict = {}
    exec(quick, names)
    assert names["vectors"].shape == (2, 512) and names["vectors"].dtype == np.float32
    exec(second, {})


def test_every_method_and_every_linked_file_is_there():
    linked = re.findall(r"\]\((?!https?:)([^)#]+)", README)
    assert all((ROOT / path).exists() for path in linked), linked
    table = re.findall(r"^\| `(\w+)` \|", README, flags=re.MULTILINE)
    assert sorted(table) == sorted(available())


def test_the_exit_codes_are_those_of_the_errors():
    from selfstudy import errors

    listed = {int(code) for code in re.findall(r"^\| (\d+) \|", README, flags=re.MULTILINE)}
    classes = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, Exception)]
    assert {cls.exit_code for cls in classes} <= listed
