"""Text encoders as directories of transformers and sentence-transformers: what they compute, and what is refused."""

import json
import sys
import types

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from selfstudy.cli import app
from selfstudy.encoders.base import Vocabulary
from selfstudy.encoders.text import build_text_encoder
from selfstudy.encoders.text_catalogue import CAUSAL, LAYOUTS
from selfstudy.encoders.text_store import save_text_encoder
from selfstudy.errors import FileRefusedError
from selfstudy.export import sentence_transformers as target
from selfstudy.export.sentence_transformers import export_sentence_transformers
from selfstudy.export.text_onnx import export_text_onnx
from selfstudy.export.transformers import export_transformers
from selfstudy.text.embedder import TextEmbedder
from selfstudy.text.tokenizer import special_ids, train_tokenizer, vocabulary_size

CONTEXT = 24
SENTENCES = ["the red ball is round and large", "a small blue box stands beside the cup", "green cups, red boxes"]
TEXTS = ["red ball", "a cup", "box [CLS] cup", "small round red ball"]
TOKENIZERS = dict(zip(LAYOUTS, ["bpe", "wordpiece", "char", "byte", "bpe"], strict=True))


def _saved(folder, layout, *, pool="mean", head=False):
    tokenizer = train_tokenizer(SENTENCES * 9, kind=TOKENIZERS[layout], vocab_size="auto", corpus_bytes=900)
    ids = special_ids(tokenizer)
    vocabulary = Vocabulary(vocabulary_size(tokenizer), ids.pad, ids.cls, ids.sep, ids.mask, ids.eos)
    torch.manual_seed(0)
    changes = {"width": 16, "depth": 2, "heads": 2}
    encoder = build_text_encoder(
        f"{layout}-tiny", vocabulary, head=head, context=CONTEXT, changes=changes, pool=pool
    ).eval()
    facts = {"method": "simcse", "weights": "student", "seed": 0, "name": f"{layout}-tiny", "head": head}
    save_text_encoder(encoder, tokenizer, folder, context=CONTEXT, extra=facts)
    return folder


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
    folder = _saved(tmp_path / "encoder", layout, pool=pool, head=layout in CAUSAL)
    result = export_sentence_transformers(folder, tmp_path / "out")
    assert result.max_abs_difference <= 1e-5
    assert result.library == "transformers (sentence-transformers is not installed)"
    ours = TextEmbedder.load(folder, device="cpu").embed(TEXTS)
    np.testing.assert_allclose(target._by_transformers(tmp_path / "out", TEXTS), ours, atol=1e-5)


def test_it_holds_the_files_sentence_transformers_looks_for(tmp_path, alone):
    out = export_sentence_transformers(
        _saved(tmp_path / "encoder", "bert", pool="cls", head=True), tmp_path / "out"
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

    out = export_sentence_transformers(_saved(tmp_path / "encoder", layout, head=True), tmp_path / "out").path
    options = _read(out / "sentence_bert_config.json").get("model_args", {})
    _, report = hf.AutoModel.from_pretrained(out, output_loading_info=True, **options)
    assert not any(report.values())


def test_where_sentence_transformers_is_installed_it_compares(tmp_path, monkeypatch):
    folder = _saved(tmp_path / "encoder", "bert")
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
        export_sentence_transformers(_saved(tmp_path / "encoder", "bert"), tmp_path / "out")
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
        export_sentence_transformers(_saved(tmp_path / "encoder", "bert", pool="cls"), tmp_path / "out")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_printed_lines_open_a_directory_for_transformers(tmp_path, layout):
    folder = _saved(tmp_path / "encoder", layout)
    result = export_transformers(folder, tmp_path / "out")
    names: dict = {}
    exec(result.usage, names)
    states = names["model"].eval()(torch.arange(6, 12)[None]).last_hidden_state
    ours = TextEmbedder.load(folder, device="cpu").encoder.states(torch.arange(6, 12)[None])
    torch.testing.assert_close(states, ours, atol=1e-5, rtol=0)
    assert result.library == "transformers" and not [name for name in names["model"].state_dict() if "pooler" in name]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("layout", "pool"), [(layout, "mean") for layout in LAYOUTS] + [("bert", "cls"), ("llama", "last")]
)
def test_the_printed_lines_give_our_vectors_in_onnx_runtime(tmp_path, layout, pool):
    pytest.importorskip("onnxscript")
    folder = _saved(tmp_path / "encoder", layout, pool=pool, head=True)
    result = export_text_onnx(folder, tmp_path / "out")
    embedder = TextEmbedder.load(folder, device="cpu")
    for texts in (["red ball"], TEXTS):  # without padding, and with it
        names: dict = {}
        exec(result.usage.replace('["a text", "another"]', repr(texts)), names)
        np.testing.assert_allclose(names["vectors"], embedder.embed(texts), atol=1e-5)
    assert result.library == "ONNX Runtime" and result.max_abs_difference <= 1e-5
    about = json.loads(names["session"].get_modelmeta().custom_metadata_map["selfstudy"])
    assert (about["name"], about["method"]) == (f"{layout}-tiny", "simcse")
    shapes = [(part.name, part.shape) for part in names["session"].get_inputs()]
    assert shapes == [(name, ["batch", "tokens"]) for name in ("input_ids", "attention_mask")]


def test_the_command_line_says_who_compared(tmp_path, alone):
    _saved(tmp_path / "run" / "encoder", "llama")
    (tmp_path / "run" / "config.yaml").write_text("", encoding="utf-8")
    command = ["export", str(tmp_path / "run"), "--to", "sentence-transformers", "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, command, catch_exceptions=False)
    assert "reloaded in transformers (sentence-transformers is not installed), max |difference|" in result.output
    assert f"model = SentenceTransformer({str(tmp_path / 'out')!r})" in result.output
