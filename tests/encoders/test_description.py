"""The description of a saved encoder is closed, bounded and checked before anything else is read."""

import json

import pytest
import torch
from pydantic import BaseModel, ConfigDict

from selfstudy.disk.tensor_file import read_tensors
from selfstudy.encoders.description import read_description, require_digest, require_finite, write_weights
from selfstudy.errors import FileRefusedError


class Described(BaseModel):
    model_config = ConfigDict(extra="forbid")

    format_version: int
    width: int


def _written(file, **content):
    file.write_text(json.dumps(content))
    return file


def test_a_description_comes_back_as_its_model(tmp_path):
    assert read_description(_written(tmp_path / "a.json", format_version=1, width=3), Described).width == 3


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ({"width": 3}, "was written for another library\nname the run, not what was exported from it"),
        ({"format_version": 2, "width": 3}, "format version 2, this selfstudy reads version 1"),
        ({"format_version": 1}, "not an encoder's description"),
        ({"format_version": 1, "width": 3, "run": "rm"}, "not an encoder's description"),
    ],
)
def test_anything_else_is_refused(tmp_path, content, text):
    with pytest.raises(FileRefusedError, match=text):
        read_description(_written(tmp_path / "a.json", **content), Described)


def test_a_folder_and_a_file_that_are_missing_are_told_apart(tmp_path):
    with pytest.raises(
        FileRefusedError, match="the folder .*none does not exist\nname a run, or the encoder/ folder of one"
    ):
        read_description(tmp_path / "none" / "a.json", Described)
    with pytest.raises(FileRefusedError, match=r"a\.json is missing\na finished run has it"):
        read_description(tmp_path / "a.json", Described)


def test_a_file_with_another_digest_is_refused(tmp_path):
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"abc")
    require_digest(file, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", listed_in="a.json")
    with pytest.raises(FileRefusedError, match="its digest is not the one in a.json; the file is damaged"):
        require_digest(file, "0" * 64, listed_in="a.json")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_weight_that_is_not_finite_is_named(value):
    state = {"count": torch.tensor(3), "weight": torch.tensor([1.0, value])}
    with pytest.raises(FileRefusedError, match="weight is not finite: such an encoder is not saved"):
        require_finite(state)
    require_finite({"weight": torch.ones(2)})


def test_weights_are_written_with_the_digest_of_their_file_and_only_if_they_are_finite(tmp_path):
    file = tmp_path / "new" / "model.safetensors"
    shared = torch.arange(4.0)
    digest = write_weights(file, {"a": shared, "b": shared[1:]})
    require_digest(file, digest, listed_in="x")
    assert torch.equal(read_tensors(file)["b"], shared[1:])
    with pytest.raises(FileRefusedError, match="b is not finite"):
        write_weights(tmp_path / "bad", {"b": torch.tensor([float("nan")])})
    assert not (tmp_path / "bad").exists()
