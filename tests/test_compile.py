"""Tests of torch.compile for encoders: training is the same, and one line says if nothing can be compiled."""

import json
import os
import subprocess
import sys

import pytest

import selfstudy
from selfstudy.methods import method_class
from tests.compiler import require_compiler
from tests.methods.small_encoders import builder, small_config
from tests.small_data import write_corpus

# torch reads the gradient of each tensor that a compiled layer receives, and warns that it has none.
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
GIVEN = {"steps": 6, "batch_size": 4, "context": 32, "tokenizer": "byte", "device": "cpu"}


@pytest.fixture
def corpus(tmp_path):
    return write_corpus(tmp_path / "corpus")


def _settings(tmp_path, **more):
    shape = {"encoder.width": 32, "encoder.depth": 2, "encoder.heads": 2}
    return shape | {"data.cache": str(tmp_path / "cache"), "train.log_every": 1} | more


def _is_compiled(module):
    return module._compiled_call_impl is not None


@pytest.mark.parametrize(("name", "encoder"), [("dino", "vit"), ("gpt", "llama"), ("bert", "modernbert")])
def test_every_layer_is_compiled_that_of_a_teacher_too(name, encoder):
    cls = method_class(name)
    method = cls(builder(name, encoder)(), cls.Config(**small_config(name)))
    method.compile()
    encoders = [module for module in method.modules() if isinstance(module, type(method.encoder))]
    assert len(encoders) == 1 + (name == "dino")
    for one in encoders:
        found = [module for module in one.modules() if _is_compiled(module)]
        assert len(found) == 2 and type(found[0]) is type(found[1])


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("method", ["gpt", "bert"])
def test_compiled_layers_learn_what_plain_ones_do_and_the_same_every_time(corpus, tmp_path, method):
    require_compiler()
    losses = []
    for number, compiled in enumerate([False, True, True]):
        settings = _settings(tmp_path, **{"train.compile": compiled})
        run = selfstudy.pretrain(
            corpus, method=method, out=tmp_path / f"{number}", precision="fp32", set=settings, **GIVEN
        )
        lines = run.folder.joinpath("metrics.jsonl").read_text().splitlines()
        losses.append([json.loads(line)["loss"] for line in lines])
    assert len(losses[0]) == GIVEN["steps"]
    assert losses[1] == losses[2] and losses[1] == pytest.approx(losses[0], rel=1e-4)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_without_a_compiler_one_line_reports_it_or_the_default_is_off(corpus, tmp_path):
    broken = os.environ | {"CXX": "no-such-compiler", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "inductor")}
    command = [sys.executable, "-m", "selfstudy.cli"]
    given = ["--method", "gpt", "--tokenizer", "byte", "--device", "cpu", "--set", f"data.cache={tmp_path / 'cache'}"]

    def call(*words):
        return subprocess.run([*command, *words], env=broken, capture_output=True, text=True, check=False)

    asked = call(
        "pretrain", str(corpus), *given, "--steps", "2", "--set", "train.compile=true", "--out", str(tmp_path / "run")
    )
    assert asked.returncode == 5 and "leave train.compile out" in asked.stderr
    assert "torch.compile does not work here" in asked.stderr and "Traceback" not in asked.stderr
    left = call("recipe", str(corpus), *given, "--minutes", "20")
    assert left.returncode == 0 and "compile: false  # tried:" in left.stdout
