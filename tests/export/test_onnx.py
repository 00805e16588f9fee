"""The file is opened by ONNX Runtime alone, through the lines that the user is given."""

import json
import sys

import numpy as np
import pytest
import torch

from selfstudy.encoders.store import load_encoder
from selfstudy.errors import EnvironmentFault, FileRefusedError
from selfstudy.export.onnx import export_onnx
from selfstudy.views.augment import normalize
from tests.export.conftest import SPECS, saved


@pytest.mark.slow
@pytest.mark.parametrize("spec", [SPECS[4], SPECS[5]], ids=["four channels", "vision transformer"])
def test_the_printed_lines_open_the_file_in_onnx_runtime(tmp_path, spec):
    pytest.importorskip("onnxscript")
    folder = saved(tmp_path / "encoder", spec)
    result = export_onnx(folder, tmp_path / "out")
    names: dict = {}
    exec(result.usage, names)
    images = torch.rand(3, spec.channels, *spec.image_size)
    found = names["session"].run(["embedding"], {"images": images.numpy()})[0]
    encoder, config = load_encoder(folder)
    wanted = encoder(normalize(images, config["mean"], config["std"])).detach().numpy()
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert names["vectors"].shape == (1, encoder.embed_dim)
    about = json.loads(names["session"].get_modelmeta().custom_metadata_map["selfstudy"])
    assert (about["name"], about["method"]) == (spec.name, "moco")


@pytest.mark.slow
def test_an_onnx_file_that_computes_something_else_is_not_kept(tmp_path, monkeypatch):
    pytest.importorskip("onnxscript")
    folder = saved(tmp_path / "encoder", SPECS[3])
    onnx = sys.modules["selfstudy.export.onnx"]
    monkeypatch.setattr(onnx, "_as_function", lambda session: lambda images: torch.full((len(images), 1), torch.nan))
    with pytest.raises(FileRefusedError, match="differs by nan"):
        export_onnx(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_without_its_packages_the_export_to_onnx_names_the_command(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(
        EnvironmentFault, match=r"needs onnxruntime, which is not installed\npip install 'selfstudy\[onnx\]'"
    ):
        export_onnx(tmp_path, tmp_path / "out")
