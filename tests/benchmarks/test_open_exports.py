"""Tests of the program that opens exports in other versions: it accepts good exports and reports changed ones."""

import importlib

import pytest
from safetensors.torch import load_file, save_file


@pytest.fixture
def program():
    return importlib.import_module("open_exports")


@pytest.mark.slow
def test_a_fresh_export_passes_and_a_changed_or_missing_weight_is_reported(program, tmp_path, capsys):
    program.make(tmp_path, (("bert", "bert", "wordpiece"),))
    with pytest.raises(SystemExit) as left:
        program.main(["check", str(tmp_path)])
    assert not left.value.code and "bert-bert" in capsys.readouterr().out
    file = tmp_path / "bert-bert" / "transformers" / "model.safetensors"
    weights = load_file(file)
    name = next(name for name in weights if name.endswith("word_embeddings.weight"))
    save_file(weights | {name: weights[name] * 1.01}, file, metadata={"format": "pt"})
    assert "output differ" in program.check(tmp_path / "bert-bert")["fault"]
    del weights["bert.embeddings.LayerNorm.weight"]
    save_file(weights, file, metadata={"format": "pt"})
    assert "bert.embeddings.LayerNorm.weight" in program.check(tmp_path / "bert-bert")["fault"]


def test_a_folder_without_exports_is_refused(program, tmp_path):
    with pytest.raises(SystemExit, match="holds no exports"):
        program.main(["check", str(tmp_path)])
