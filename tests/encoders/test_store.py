"""The encoder folder: what was saved comes back, and nothing else gets in."""

import json

import pytest
import torch

from selfstudy.encoders.store import load_encoder, save_encoder
from selfstudy.encoders.timm import EncoderSpec, build_encoder
from selfstudy.errors import FileRefusedError

EXTRA = {"weights": "student", "method": "simclr", "seed": 0}


@pytest.fixture
def saved(tmp_path):
    encoder = build_encoder(EncoderSpec("resnet10t", (32, 32))).eval()
    save_encoder(encoder, tmp_path / "encoder", mean=[0.5] * 3, std=[0.2] * 3, extra=EXTRA)
    return encoder, tmp_path / "encoder"


def _edit(folder, **changes):
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


@pytest.mark.parametrize("name", ["resnet10t", "vit_tiny_patch16_224", "convnext_atto"])
def test_what_was_saved_comes_back_bit_for_bit(tmp_path, name):
    encoder = build_encoder(EncoderSpec(name, (32, 48), 2)).eval()
    save_encoder(encoder, tmp_path, mean=[0.5] * 2, std=[0.2] * 2, extra=EXTRA)
    loaded, config = load_encoder(tmp_path)
    images = torch.randn(3, 2, 32, 48)
    assert torch.equal(loaded(images), encoder(images)) and not loaded.training
    assert config["method"] == "simclr" and config["mean"] == [0.5, 0.5]


def test_a_folder_that_does_not_say_how_it_began_still_loads(saved):
    file = saved[1] / "config.json"
    file.write_text(json.dumps({k: v for k, v in json.loads(file.read_text()).items() if k != "pretrained"}))
    assert load_encoder(saved[1])[1]["pretrained"] is False


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"format_version": 99}, "format version 99"),
        ({"name": "../../etc/passwd"}, "not an encoder's description"),
        ({"name": "hf-hub:x"}, "not an encoder's description"),
        ({"name": "resnet19"}, "does not fit its own description"),
        ({"name": "resnet18"}, "does not fit its own description"),
        ({"stem": "evil"}, "not an encoder's description"),
        ({"channels": 10**9}, "not an encoder's description"),
        ({"command": "rm"}, "not an encoder's description"),
        ({"sha256": "0" * 64}, "its digest is not the one"),
    ],
)
def test_a_doctored_configuration_is_refused(saved, changes, text):
    _edit(saved[1], **changes)
    with pytest.raises(FileRefusedError, match=text):
        load_encoder(saved[1])


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff\xfe", b"[" * 100_000, b" " * 1_000_001])
def test_a_file_that_is_no_configuration_is_refused(saved, content):
    (saved[1] / "config.json").write_bytes(content)
    with pytest.raises(FileRefusedError, match="config.json"):
        load_encoder(saved[1])


def test_one_flipped_bit_in_the_weights_is_found(saved):
    file = saved[1] / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(FileRefusedError, match=r"model\.safetensors: its digest"):
        load_encoder(saved[1])


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_missing_file_is_named(saved, name):
    (saved[1] / name).unlink()
    with pytest.raises(FileRefusedError, match=f"{name} is missing"):
        load_encoder(saved[1])


def test_weights_that_are_not_finite_are_never_saved(tmp_path):
    encoder = build_encoder(EncoderSpec("resnet10t", (32, 32)))
    with torch.no_grad():
        next(encoder.parameters()).fill_(float("nan"))
    with pytest.raises(FileRefusedError, match="is not finite"):
        save_encoder(encoder, tmp_path / "encoder", mean=[0.5] * 3, std=[0.2] * 3, extra=EXTRA)
    assert not (tmp_path / "encoder").exists()
