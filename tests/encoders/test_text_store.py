"""The encoder folder of a run on text: what was saved comes back, and nothing else gets in."""

import json

import pytest
import torch
from transformers import AutoTokenizer

from selfstudy.encoders.text_store import load_text_encoder, save_text_encoder
from selfstudy.errors import FileRefusedError
from tests.export.text_encoders import CONTEXT, TEXTS, saved


@pytest.fixture
def folder(tmp_path):
    return saved(tmp_path / "encoder", "bert", head=True)


def test_what_was_saved_comes_back_bit_for_bit(folder, tmp_path):
    encoder, tokenizer, described = load_text_encoder(folder)
    extra = {key: described[key] for key in ("method", "weights", "seed", "name", "head")}
    save_text_encoder(encoder, tokenizer, tmp_path / "again", context=CONTEXT, extra=extra)
    again = load_text_encoder(tmp_path / "again")
    ids = torch.arange(6, 12)[None]
    assert torch.equal(again[0].states(ids), encoder.states(ids)) and not encoder.training
    assert again[1].to_str() == tokenizer.to_str() and again[2] == described
    assert (described["context"], described["weights"]) == (CONTEXT, "student")


@pytest.mark.parametrize("layout", ["bert", "gpt2"])
def test_transformers_frames_texts_as_the_encoder_was_trained(tmp_path, layout):
    tokenizer = AutoTokenizer.from_pretrained(saved(tmp_path / "encoder", layout, head=True))
    ids = tokenizer(TEXTS[0])["input_ids"]
    assert (ids[0] == tokenizer.cls_token_id, ids[-1] == tokenizer.sep_token_id) == (layout == "bert",) * 2
    assert tokenizer.pad_token == "[PAD]" and tokenizer.model_max_length == CONTEXT
    assert (tokenizer.mask_token is None) == (tokenizer.bos_token is not None) == (layout == "gpt2")


@pytest.mark.parametrize("name", ["selfstudy.json", "model.safetensors", "tokenizer.json"])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(FileRefusedError, match=f"{name} is missing\na finished run has it"):
        load_text_encoder(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_one_flipped_bit_is_found(folder, name):
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(FileRefusedError, match=f"{name}: its digest is not the one in selfstudy.json"):
        load_text_encoder(folder)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"format_version": 2}, "format version 2, this selfstudy reads version 1"),
        ({"pool": "max"}, "not an encoder's description"),
        ({"command": "rm"}, "not an encoder's description"),
    ],
)
def test_a_doctored_description_is_refused(folder, changes, text):
    file = folder / "selfstudy.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    with pytest.raises(FileRefusedError, match=text):
        load_text_encoder(folder)


def test_weights_that_are_not_finite_leave_the_encoder_that_was_there(folder):
    encoder, tokenizer, described = load_text_encoder(folder)
    extra = {key: described[key] for key in ("method", "weights", "seed", "name", "head")}
    before = (folder / "model.safetensors").read_bytes()
    with torch.no_grad():
        next(encoder.parameters()).fill_(float("nan"))
    with pytest.raises(FileRefusedError, match="is not finite"):
        save_text_encoder(encoder, tokenizer, folder, context=CONTEXT, extra=extra)
    assert (folder / "model.safetensors").read_bytes() == before


def test_the_mask_alone_includes_the_space_before_it_where_tokens_begin_with_spaces(tmp_path):
    folder = saved(tmp_path / "encoder", "modernbert", head=True)
    added = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["added_tokens"]
    assert [token["content"] for token in added if token["lstrip"]] == ["[MASK]"] and len(added) > 1
