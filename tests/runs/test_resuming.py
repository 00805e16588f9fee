"""A run continues only if its files are whole; tests/test_api.py has the settings and the data."""

import shutil

import numpy as np
import pytest

import selfstudy
from selfstudy.errors import FileRefusedError

QUICK = {"encoder": "resnet10t", "steps": 4, "batch_size": 2, "image_size": 16, "device": "cpu", "precision": "fp32"}
IMAGES = np.random.default_rng(0).integers(0, 256, (8, 16, 16), dtype=np.uint8)


@pytest.fixture(scope="module")
def simclr(tmp_path_factory):
    return selfstudy.pretrain(IMAGES, out=tmp_path_factory.mktemp("simclr") / "run", **QUICK | {"steps": 1}).folder


@pytest.mark.parametrize(
    ("text", "says"),
    [(None, "No such file"), ('{"data_fing', "not readable as JSON"), ("{}", "'data_fingerprint' is missing")],
)
def test_a_run_whose_environment_is_damaged_is_not_resumed(simclr, tmp_path, text, says):
    folder = shutil.copytree(simclr, tmp_path / "run")
    (folder / "environment.json").unlink()
    if text is not None:
        (folder / "environment.json").write_text(text)
    with pytest.raises(FileRefusedError, match=f"environment.json: {says}"):
        selfstudy.pretrain(IMAGES, out=folder, resume=True, **QUICK | {"steps": 1})
