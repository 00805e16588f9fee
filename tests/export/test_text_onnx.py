"""Both files are opened by ONNX Runtime and tokenizers alone, and give our vectors."""

import json

import numpy as np
import pytest
from tokenizers import Tokenizer

from selfstudy.encoders.text_catalogue import LAYOUTS
from selfstudy.encoders.text_store import FACTS, TextEncoderDescription
from selfstudy.encoders.whitening import save_whitening
from selfstudy.export.text_onnx import _write_tokenizer, export_text_onnx
from selfstudy.ops.whitening import fit_whitening
from selfstudy.text.embedder import TextEmbedder
from tests.export.text_encoders import CONTEXT, TEXTS, saved


@pytest.mark.slow
@pytest.mark.parametrize(
    ("layout", "pool"), [(layout, "mean") for layout in LAYOUTS] + [("bert", "cls"), ("llama", "last")]
)
def test_the_printed_lines_give_our_vectors_in_onnx_runtime(tmp_path, layout, pool):
    pytest.importorskip("onnxscript")
    folder = saved(tmp_path / "encoder", layout, pool=pool, head=True)
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


@pytest.mark.slow
def test_the_last_layer_of_the_file_whitens_where_it_is_asked_for(tmp_path):
    pytest.importorskip("onnxscript")
    folder = saved(tmp_path / "encoder", "bert")
    embedder = TextEmbedder.load(folder, device="cpu")
    texts = [f"{a} {b}" for a in TEXTS for b in TEXTS]
    whitening = fit_whitening(embedder.of_texts(texts))
    save_whitening(whitening, folder / FACTS, TextEncoderDescription)
    result = export_text_onnx(folder, tmp_path / "out", whiten=True)
    names: dict = {}
    exec(result.usage.replace('["a text", "another"]', repr(TEXTS)), names)
    wanted = TextEmbedder.load(folder, device="cpu").embed(TEXTS, whiten=True)
    np.testing.assert_allclose(names["vectors"], wanted, atol=1e-3)
    assert "# the last layer of the graph whitens" in result.usage
    assert json.loads(names["session"].get_modelmeta().custom_metadata_map["selfstudy"])["whitened"] is True


@pytest.mark.parametrize("pad", [7, None])
def test_texts_are_padded_by_the_encoders_own_token_if_it_has_one(tmp_path, pad):
    embedder = TextEmbedder.load(saved(tmp_path / "encoder", "bert"), device="cpu")
    embedder.encoder.vocabulary = embedder.encoder.vocabulary._replace(pad=pad)
    _write_tokenizer(embedder, tmp_path / "tokenizer.json")
    written = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert written.padding["pad_id"] == (pad or 0) and written.truncation["max_length"] == CONTEXT
    short, long = written.encode_batch(["a cup", "red ball and a cup"])
    assert len(short.ids) == len(long.ids) and short.ids[-1] == (pad or 0) and short.attention_mask[-1] == 0
