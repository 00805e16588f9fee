"""Why a setting has its value is kept as data, and still found in runs that kept it as comments."""

import json

import pytest

from selfstudy import config as cfg
from selfstudy.errors import FileRefusedError
from selfstudy.images.config import ImageRunConfig
from selfstudy.runs.folder import RunFolder
from selfstudy.runs.reasons import read_reasons, write_settings

REASONS = {"data.mean": "measured", "train.batch_size": "for 1,000 images", "method.temperature": "0.2: 1 x # 2"}


def _config(path):
    return cfg.validate(ImageRunConfig, {"data": {"path": path}, "method": {"temperature": 0.2}})


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path)


def test_reasons_are_data_of_their_own_and_comments_for_people(folder):
    write_settings(folder, _config("photos"), REASONS)
    assert json.loads(folder.reasons.read_text()) == REASONS == read_reasons(folder)
    assert "temperature: 0.2  # 0.2: 1 x # 2" in folder.config.read_text()
    folder.config.write_text("data: {path: photos}  # another reason\n")
    assert read_reasons(folder) == REASONS


@pytest.mark.parametrize(
    "path", ["photos  # old", "photos # old", "a: b", "it's  # mine", "  # only", "", "two\nlines"]
)
def test_a_run_without_that_file_is_read_from_its_comments_for_any_path(folder, path):
    write_settings(folder, _config(path), REASONS)
    folder.reasons.unlink()
    assert cfg.validate(ImageRunConfig, cfg.read_yaml(folder.config)).data.path == path
    assert read_reasons(folder) == REASONS


def test_the_reason_of_a_path_that_looks_like_one_is_told_from_it(folder):
    folder.config.write_text("data:\n  path: 'photos  # old'  # given\n  mean: [0.1, 0.2]  # measured\n  std: null\n")
    assert read_reasons(folder) == {"data.path": "given", "data.mean": "measured"}


@pytest.mark.parametrize("text", ["", "[1, 2]", "data: 3  # three", "data: {path: photos}  # old"])
def test_a_configuration_of_another_form_has_no_reasons(folder, text):
    folder.config.write_text(text)
    assert read_reasons(folder) == {}


def test_damaged_reasons_are_refused_by_name(folder):
    folder.reasons.write_text("[]")
    with pytest.raises(FileRefusedError, match=r"reasons\.json: holds a list, a mapping is needed"):
        read_reasons(folder)
