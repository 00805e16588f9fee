"""The directory gives our vectors in sentence-transformers, or by what its files say where that is not installed."""

import json
import sys
import types

import numpy as np
import pytest
from typer.testing import CliRunner

from selfstudy.cli import app
from selfstudy.encoders.text_catalogue import CAUSAL, LAYOUTS
from selfstudy.errors import FileRefusedError
from selfstudy.export import sentence_transformers as target
from selfstudy.export.sentence_transformers import export_sentence_transformers
from selfstudy.text.embedder import TextEmbedder
from tests.export.text_encoders import CONTEXT, TEXTS, saved


def _read(file):
    return json.loads(file.read_text(encoding="utf-8"))


def _stand_in(monkeypatch, encode):
    """A module in the place of sentence-transformers; what its class was called with."""
    calls = []

    class SentenceTransformer:
        def __init__(self, name, **options):
            calls.append((name, options))

        def encode(self, texts, **options):
            return encode(texts)

    module = types.ModuleType("sentence_transformers")
    module.SentenceTransformer = SentenceTransformer
    monkeypatch.setitem(sys.modules, "sentence_transformers", module)
    return calls


@pytest.fixture
def alone(monkeypatch):
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)  # importing it is an ImportError


@pytest.mark.parametrize("pool", ["mean", "cls", "last"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_directory_for_sentence_transformers_gives_our_vectors(tmp_path, alone, layout, pool):
    folder = saved(tmp_path / "encoder", layout, pool=pool, head=layout in CAUSAL)
    result = export_sentence_transformers(folder, tmp_path / "out")
    assert result.max_abs_difference <= 1e-5
    assert result.library == "transformers (sentence-transformers is not installed)"
    ours = TextEmbedder.load(folder, device="cpu").embed(TEXTS)
    np.testing.assert_allclose(target._by_transformers(tmp_path / "out", TEXTS), ours, atol=1e-5)


def test_it_holds_the_files_sentence_transformers_looks_for(tmp_path, alone):
    out = export_sentence_transformers(
        saved(tmp_path / "encoder", "bert", pool="cls", head=True), tmp_path / "out"
    ).path
    kinds = [(module["path"], module["type"].rpartition(".")[2]) for module in _read(out / "modules.json")]
    assert kinds == [("", "Transformer"), ("1_Pooling", "Pooling")]
    assert _read(out / "sentence_bert_config.json")["max_seq_length"] == CONTEXT
    pooling = _read(out / "1_Pooling" / "config.json")
    assert pooling.pop("word_embedding_dimension") == 16 and pooling.pop("include_prompt")
    assert [key for key, value in pooling.items() if value] == ["pooling_mode_cls_token"]
    assert _read(out / "config_sentence_transformers.json")["model_type"] == "SentenceTransformer"
    assert _read(out / "config.json")["architectures"] == ["BertModel"]  # without its head


@pytest.mark.parametrize("layout", LAYOUTS)
def test_transformers_opens_it_with_nothing_missing_or_left_over(tmp_path, alone, layout):
    import transformers as hf

    out = export_sentence_transformers(saved(tmp_path / "encoder", layout, head=True), tmp_path / "out").path
    options = _read(out / "sentence_bert_config.json").get("model_args", {})
    _, report = hf.AutoModel.from_pretrained(out, output_loading_info=True, **options)
    assert not any(report.values())


def test_where_sentence_transformers_is_installed_it_compares(tmp_path, monkeypatch):
    folder = saved(tmp_path / "encoder", "bert")
    calls = _stand_in(monkeypatch, TextEmbedder.load(folder, device="cpu").embed)
    result = export_sentence_transformers(folder, tmp_path / "out")
    assert result.library == "sentence-transformers" and result.max_abs_difference == 0
    assert [options for _, options in calls] == [
        {"device": "cpu", "local_files_only": True, "trust_remote_code": False}
    ]


def test_other_vectors_are_refused_and_not_kept(tmp_path, monkeypatch):
    _stand_in(monkeypatch, lambda texts: np.full((len(texts), 16), np.nan, np.float32))
    with pytest.raises(
        FileRefusedError, match="the exported network differs by nan, at most 1e-05 is allowed; nothing kept"
    ):
        export_sentence_transformers(saved(tmp_path / "encoder", "bert"), tmp_path / "out")
    assert not [file for file in (tmp_path / "out").rglob("*") if file.is_file()]


def test_another_pooling_than_the_encoders_is_noticed(tmp_path, monkeypatch, alone):
    describe = target._descriptions

    def mistaken(encoder, context):
        encoder.pool = "mean"
        content = describe(encoder, context)
        encoder.pool = "cls"
        return content

    monkeypatch.setattr(target, "_descriptions", mistaken)
    with pytest.raises(FileRefusedError, match="at most 1e-05 is allowed; nothing kept"):
        export_sentence_transformers(saved(tmp_path / "encoder", "bert", pool="cls"), tmp_path / "out")


def test_the_command_line_says_who_compared(tmp_path, alone):
    saved(tmp_path / "run" / "encoder", "llama")
    (tmp_path / "run" / "config.yaml").write_text("", encoding="utf-8")
    command = ["export", str(tmp_path / "run"), "--to", "sentence-transformers", "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, command, catch_exceptions=False)
    assert "reloaded in transformers (sentence-transformers is not installed), max |difference|" in result.output
    assert f"model = SentenceTransformer({str(tmp_path / 'out')!r})" in result.output


def test_tokens_of_other_scripts_can_be_read_in_its_files(tmp_path, alone):
    out = export_sentence_transformers(saved(tmp_path / "encoder", "modernbert"), tmp_path / "out").path
    assert "\N{LATIN CAPITAL LETTER G WITH DOT ABOVE}" in (out / "tokenizer.json").read_text(encoding="utf-8")
