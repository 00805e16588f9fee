"""The file is opened by ONNX Runtime alone, through the lines that the user is given."""

import json
import sys

import numpy as np
import pytest
import torch

import selfstudy
from selfstudy.encoders.store import CONFIG, ImageEncoderDescription, load_encoder
from selfstudy.encoders.whitening import save_whitening
from selfstudy.errors import EnvironmentFault, FileRefusedError, UsageError
from selfstudy.export.onnx import export_onnx, last_layer, tolerance_after
from selfstudy.images.embedder import Embedder
from selfstudy.ops.whitening import Whitening, fit_whitening
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
def test_a_solved_encoder_is_exported_for_any_number_of_images(tmp_path):
    pytest.importorskip("onnxscript")
    images = np.random.default_rng(0).integers(0, 256, (100, 20, 24, 3), dtype=np.uint8)
    run = selfstudy.pretrain(images, method="patches", out=tmp_path / "run", set={"method.filters": [8, 8]})
    selfstudy.export(run.folder, "onnx", tmp_path / "out")
    session = onnxruntime_session(tmp_path / "out" / "model.onnx")
    for count in (1, 3, 70):
        some = images[:count].transpose(0, 3, 1, 2).astype(np.float32) / 255
        found = session.run(["embedding"], {"images": some})[0]
        np.testing.assert_allclose(found, run.encoder.embed(images[:count]), atol=1e-3)
    for library in ("timm", "torchvision", "transformers"):
        with pytest.raises(UsageError, match=f"encoder 'patches' is solved, and {library} has none\\nuse --to onnx"):
            selfstudy.export(run.folder, library, tmp_path / library)


def onnxruntime_session(file):
    return pytest.importorskip("onnxruntime").InferenceSession(file, providers=["CPUExecutionProvider"])


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


def _with_whitening(folder, width=128):
    """The encoder in a folder with whitening statistics of directions of very different variances."""
    encoder, config = load_encoder(folder)
    images = torch.rand(width, config["channels"], *config["image_size"])
    embeddings = encoder(normalize(images, config["mean"], config["std"])).detach()
    save_whitening(fit_whitening(embeddings), folder / CONFIG, ImageEncoderDescription)
    return folder


@pytest.mark.slow
def test_the_last_layer_of_the_file_whitens_where_it_is_asked_for(tmp_path):
    pytest.importorskip("onnxscript")
    spec = SPECS[3]
    folder = _with_whitening(saved(tmp_path / "encoder", spec))
    result = export_onnx(folder, tmp_path / "out", whiten=True)
    names: dict = {}
    exec(result.usage, names)
    images = torch.rand(3, spec.channels, *spec.image_size)
    found = names["session"].run(["embedding"], {"images": images.numpy()})[0]
    wanted = Embedder.load(folder, device="cpu").embed(images, whiten=True)
    np.testing.assert_allclose(found, wanted, atol=1e-3)
    assert result.usage.endswith(
        f"# the last layer of the graph whitens: it makes {wanted.shape[1]} numbers of the 512 of an embedding"
    )
    about = json.loads(names["session"].get_modelmeta().custom_metadata_map["selfstudy"])
    assert about["whitened"] is True and about["embed_dim"] == wanted.shape[1]


def test_an_encoder_without_statistics_is_not_exported_whitened(tmp_path):
    pytest.importorskip("onnxscript")
    folder = saved(tmp_path / "encoder", SPECS[3])
    with pytest.raises(UsageError, match="has no whitening statistics; add them: selfstudy whiten"):
        export_onnx(folder, tmp_path / "out", whiten=True)
    assert not (tmp_path / "out").exists()


def test_the_layer_whitens_as_the_statistics_do():
    whitening = fit_whitening(torch.randn(100, 8) * 3 + 1)
    x = torch.randn(5, 8)
    assert torch.equal(last_layer(whitening)(x), whitening.apply(x)) and torch.equal(last_layer(None)(x), x)


def test_a_whitening_may_enlarge_the_difference_by_its_gain():
    whitening = Whitening(torch.zeros(2), torch.diag(torch.tensor([50.0, 2.0])))
    assert tolerance_after(whitening) == pytest.approx(50e-4)
    assert tolerance_after(Whitening(torch.zeros(2), torch.eye(2) / 9)) == tolerance_after(None) == 1e-4
