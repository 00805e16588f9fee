"""Whitening statistics lie next to the encoder that they belong to, and nothing else is taken for them."""

import pytest
import torch
from safetensors.torch import save_file

from selfstudy.encoders.description import EncoderDescription, read_description, write_description
from selfstudy.encoders.whitening import WHITENING, load_whitening, save_whitening
from selfstudy.errors import FileRefusedError, UsageError
from selfstudy.ops.whitening import fit_whitening

ABOUT = {"method": "simclr", "weights": "student", "seed": 0, "embed_dim": 4, "sha256": "0" * 64}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "run" / "encoder").mkdir(parents=True)
    write_description(tmp_path / "run" / "encoder" / "a.json", EncoderDescription(**ABOUT))
    return tmp_path / "run" / "encoder"


def _whitening():
    return fit_whitening(torch.randn(100, 4, generator=torch.Generator().manual_seed(0)))


def _about(folder):
    return read_description(folder / "a.json", EncoderDescription).model_dump()


def test_statistics_come_back_bit_for_bit_and_leave_the_rest_of_the_description_as_it_was(folder):
    before, whitening = _about(folder), _whitening()
    save_whitening(whitening, folder / "a.json", EncoderDescription)
    loaded = load_whitening(folder, _about(folder))
    assert torch.equal(loaded.mean, whitening.mean) and torch.equal(loaded.projection, whitening.projection)
    assert {**_about(folder), "whitening_sha256": None} == before


def test_an_encoder_without_statistics_is_refused_in_one_line_with_the_command_that_adds_them(folder):
    with pytest.raises(UsageError) as caught:
        load_whitening(folder, _about(folder))
    run = folder.parent
    assert str(caught.value) == f"{run} has no whitening statistics; add them: selfstudy whiten {run} DATA"
    alone = folder.rename(folder.parent / "alone")
    with pytest.raises(UsageError, match=f"selfstudy whiten {alone} DATA"):
        load_whitening(alone, _about(alone))


def test_a_file_that_is_missing_damaged_or_of_another_encoder_is_refused(folder):
    save_whitening(_whitening(), folder / "a.json", EncoderDescription)
    about = _about(folder)
    with pytest.raises(FileRefusedError, match="statistics of another encoder; this one has 5 numbers per input"):
        load_whitening(folder, about | {"embed_dim": 5})
    (folder / WHITENING).write_bytes((folder / WHITENING).read_bytes()[:-1] + b"\x01")
    with pytest.raises(FileRefusedError, match="its digest is not the one in the encoder's description"):
        load_whitening(folder, about)
    (folder / WHITENING).unlink()
    with pytest.raises(FileRefusedError, match=f"{WHITENING} is missing"):
        load_whitening(folder, about)


@pytest.mark.parametrize("tensors", [{"mean": torch.zeros(4)}, {"mean": torch.zeros(4), "other": torch.zeros(4)}])
def test_a_file_of_other_tensors_is_refused(folder, tensors, monkeypatch):
    monkeypatch.setattr("selfstudy.encoders.whitening.require_digest", lambda *known, **more: None)
    save_file(tensors, folder / WHITENING)
    with pytest.raises(FileRefusedError, match="not whitening statistics"):
        load_whitening(folder, _about(folder) | {"whitening_sha256": "0" * 64})
