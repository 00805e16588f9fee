"""Exports are opened by the target library alone, by running the lines the user is given."""

import json
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from selfstudy.encoders.store import load_encoder, save_encoder
from selfstudy.encoders.timm import EncoderSpec, build_encoder
from selfstudy.errors import EnvironmentFault, FileRefusedError, UsageError
from selfstudy.export.onnx import export_onnx
from selfstudy.export.result import write_and_compare
from selfstudy.export.timm import export_timm
from selfstudy.export.timm_wrapper import export_timm_wrapper
from selfstudy.export.torchvision import export_torchvision
from selfstudy.images.embedder import Embedder
from selfstudy.views.augment import normalize


def _saved(folder, spec):
    torch.manual_seed(1)
    encoder = build_encoder(spec)
    encoder.train()
    for _ in range(2):  # statistics that are not the initial ones
        encoder(torch.randn(4, spec.channels, *spec.image_size))
    values = [0.4] * spec.channels
    save_encoder(encoder, folder, mean=values, std=values, extra={"weights": "teacher", "method": "moco", "seed": 0})
    return folder


def _run(usage):
    """The model that the printed lines of Python make."""
    names: dict = {}
    exec(usage, names)
    return names["model"].eval()


SPECS = [
    EncoderSpec("resnet18", (32, 32)),
    EncoderSpec("resnet18", (32, 48), 1, stem="small"),
    EncoderSpec("resnet18", (32, 32), 3, stem="no_pool"),
    EncoderSpec("resnet10t", (32, 32), 3),
    EncoderSpec("resnet10t", (32, 32), 4, stem="small"),
    EncoderSpec("vit_tiny_patch16_224", (32, 48), 2),
    EncoderSpec("convnext_atto", (32, 32)),
]


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: f"{spec.name}-{spec.channels}-{spec.stem}")
def test_the_printed_lines_open_the_file_in_timm(tmp_path, spec):
    folder = _saved(tmp_path / "encoder", spec)
    result = export_timm(folder, tmp_path / "out")
    images = torch.randn(3, spec.channels, *spec.image_size)
    assert result.max_abs_difference <= 1e-5
    torch.testing.assert_close(_run(result.usage)(images), load_encoder(folder)[0](images), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("spec", SPECS[:3], ids=["stock", "small, one channel", "no pool"])
def test_the_printed_lines_open_the_file_in_torchvision(tmp_path, spec):
    folder = _saved(tmp_path / "encoder", spec)
    result = export_torchvision(folder, tmp_path / "out")
    images = torch.randn(3, spec.channels, *spec.image_size)
    torch.testing.assert_close(_run(result.usage)(images), load_encoder(folder)[0](images), atol=1e-5, rtol=1e-5)


IN_TRANSFORMERS = [SPECS[3], SPECS[5], EncoderSpec("vit_tiny_patch16_224", (32, 32), 1, pool="avg"), SPECS[6]]


@pytest.mark.parametrize("spec", IN_TRANSFORMERS, ids=lambda spec: f"{spec.name}-{spec.channels}-{spec.pool}")
def test_the_printed_lines_open_the_directory_in_transformers(tmp_path, spec):
    folder = _saved(tmp_path / "encoder", spec)
    result = export_timm_wrapper(folder, tmp_path / "out")
    names: dict = {}
    exec(result.usage, names)
    images = torch.rand(3, spec.channels, *spec.image_size)
    found = names["model"](**names["processor"](images)).pooler_output.detach().numpy()
    np.testing.assert_allclose(found, Embedder.load(folder, device="cpu").embed(images), atol=1e-5)
    assert names["vectors"].shape == (1, load_encoder(folder)[0].embed_dim)
    assert result.library == "transformers" and result.max_abs_difference <= 1e-5


@pytest.mark.parametrize(("channels", "mode"), [(3, "RGB"), (1, "L")])
def test_the_processor_for_transformers_prepares_images_as_the_run_did(tmp_path, channels, mode):
    import transformers as hf

    folder = _saved(tmp_path / "encoder", EncoderSpec("resnet10t", (32, 48), channels))
    processor = hf.AutoImageProcessor.from_pretrained(export_timm_wrapper(folder, tmp_path / "out").path)
    noise = np.random.default_rng(0).integers(0, 256, (12, 9, 3), dtype=np.uint8)
    for size in [(48, 32), (90, 90), (70, 201)]:  # width and height: of the run, larger, and of another shape
        picture = Image.fromarray(noise).convert(mode).resize(size)
        pixels = np.asarray(picture).reshape(size[1], size[0], channels)
        ours = Embedder.load(folder).preprocessing.prepare(torch.tensor(pixels).permute(2, 0, 1))
        one_level = 1.01 / 255 / 0.4  # that far from each other may two roundings be, after division by the std
        torch.testing.assert_close(processor(picture)["pixel_values"][0], ours, atol=one_level, rtol=0)


def test_a_stem_that_no_argument_of_timm_makes_is_refused_for_transformers(tmp_path):
    folder = _saved(tmp_path / "encoder", SPECS[2])
    with pytest.raises(UsageError, match="cannot build a resnet18 with the stem 'no_pool'\nuse --to timm"):
        export_timm_wrapper(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_processor_that_normalises_otherwise_is_noticed(tmp_path, monkeypatch):
    module = sys.modules["selfstudy.export.timm_wrapper"]
    monkeypatch.setattr(module, "normalize", lambda images, mean, std: images)
    with pytest.raises(FileRefusedError, match="the exported network differs by"):
        export_timm_wrapper(_saved(tmp_path / "encoder", SPECS[3]), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize("spec", [SPECS[4], SPECS[5]], ids=["four channels", "vision transformer"])
def test_the_printed_lines_open_the_file_in_onnx_runtime(tmp_path, spec):
    pytest.importorskip("onnxscript")
    folder = _saved(tmp_path / "encoder", spec)
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
    folder = _saved(tmp_path / "encoder", SPECS[3])
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


def test_a_network_torchvision_does_not_have_is_refused(tmp_path):
    folder = _saved(tmp_path / "encoder", SPECS[3])
    with pytest.raises(UsageError, match="torchvision has no resnet10t\nallowed: resnet18.*use --to timm"):
        export_torchvision(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_network_that_computes_something_else_is_refused_and_not_kept(tmp_path):
    ours, theirs = nn.Conv2d(3, 2, 1).eval(), nn.Conv2d(3, 2, 1)
    with pytest.raises(FileRefusedError, match="the exported network differs by"):
        write_and_compare(ours, ours.state_dict(), file=tmp_path / "f", reload=lambda _: theirs, shape=(3, 4, 4))
    assert not (tmp_path / "f").exists()


def test_nan_is_not_agreement(tmp_path):
    ours = nn.Conv2d(3, 2, 1).eval()
    with torch.no_grad():
        ours.weight.fill_(np.nan)
    with pytest.raises(FileRefusedError):
        write_and_compare(ours, ours.state_dict(), file=tmp_path / "f", reload=lambda _: ours, shape=(3, 4, 4))
