"""Tests that run the example of docs/add_a_method.md unchanged: both files, the contract, the commands."""

import importlib
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from selfstudy.cli import app
from selfstudy.methods import method_class
from tests.methods.contract import CHECKS
from tests.methods.small_encoders import ENCODERS

PAGE = (Path(__file__).parent.parent / "docs" / "add_a_method.md").read_text(encoding="utf-8")
QUICK = "--steps 2 --encoder resnet10t --image-size 16 --batch-size 4 --set method.hidden_dim=16"


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """Write the two files of the page into a package on the path."""
    folder = tmp_path_factory.mktemp("own")
    method, test = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    (folder / "my_methods").mkdir()
    (folder / "my_methods" / "__init__.py").touch()
    (folder / "my_methods" / "align_uniform.py").write_text(method)
    (folder / "my_methods" / "test_align_uniform.py").write_text(test)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield folder


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_example_passes_the_contract(package, check, encoder):
    cls = method_class("my_methods.align_uniform")
    small = importlib.import_module("my_methods.test_align_uniform").SMALL

    def make():
        torch.manual_seed(0)
        return cls(ENCODERS[encoder](), cls.Config(**small))

    check(make)


def test_the_examples_own_tests_pass(package):
    module = importlib.import_module("my_methods.test_align_uniform")
    tests = [value for name, value in vars(module).items() if name.startswith("test_")]
    assert len(tests) == 2
    for test in tests:
        test()


def test_the_commands_of_the_page_work(package, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    for number, pixels in enumerate(np.random.default_rng(0).integers(0, 256, (8, 20, 20, 3), dtype=np.uint8)):
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{number}.png")
    recipe, pretrain = re.search(r"```sh\n(.*?)```", PAGE, flags=re.DOTALL).group(1).splitlines()
    result = CliRunner().invoke(app, shlex.split(recipe)[1:], catch_exceptions=False)
    assert result.exit_code == 0 and "lr: " in result.output and "x sqrt(batch size" in result.output
    quick = pretrain.replace("--minutes 30", QUICK)
    result = CliRunner().invoke(app, shlex.split(quick)[1:], catch_exceptions=False)
    assert result.exit_code == 0 and (tmp_path / "runs" / "mine" / "encoder").is_dir(), result.output
