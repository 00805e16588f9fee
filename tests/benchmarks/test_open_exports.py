"""Exports opened elsewhere: the program makes them, finds them the same, and notices when they are not."""

import importlib

import pytest
from safetensors.torch import load_file, save_file


@pytest.fixture
def program():
    return importlib.import_module("open_exports")


@pytest.mark.slow
def test_what_it_makes_it_finds_the_same_until_a_weight_changes_or_is_lost(program, tmp_path, capsys):
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


def test_a_folder_without_exports_is_said(program, tmp_path):
    with pytest.raises(SystemExit, match="holds no exports"):
        program.main(["check", str(tmp_path)])
