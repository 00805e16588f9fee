"""The directory is opened by transformers alone, which prepares images as the run did."""

import sys

import numpy as np
import pytest
import torch
from PIL import Image

from selfstudy.encoders.store import load_encoder
from selfstudy.encoders.timm import EncoderSpec
from selfstudy.errors import FileRefusedError, UsageError
from selfstudy.export.timm_wrapper import export_timm_wrapper
from selfstudy.images.embedder import Embedder
from tests.export.conftest import SPECS, saved

IN_TRANSFORMERS = [SPECS[3], SPECS[5], EncoderSpec("vit_tiny_patch16_224", (32, 32), 1, pool="avg"), SPECS[6]]


@pytest.mark.parametrize("spec", IN_TRANSFORMERS, ids=lambda spec: f"{spec.name}-{spec.channels}-{spec.pool}")
def test_the_printed_lines_open_the_directory_in_transformers(tmp_path, spec):
    folder = saved(tmp_path / "encoder", spec)
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

    folder = saved(tmp_path / "encoder", EncoderSpec("resnet10t", (32, 48), channels))
    processor = hf.AutoImageProcessor.from_pretrained(export_timm_wrapper(folder, tmp_path / "out").path)
    noise = np.random.default_rng(0).integers(0, 256, (12, 9, 3), dtype=np.uint8)
    for size in [(48, 32), (90, 90), (70, 201)]:  # width and height: of the run, larger, and of another shape
        picture = Image.fromarray(noise).convert(mode).resize(size)
        pixels = np.asarray(picture).reshape(size[1], size[0], channels)
        ours = Embedder.load(folder).preprocessing.prepare(torch.tensor(pixels).permute(2, 0, 1))
        one_level = 1.01 / 255 / 0.4  # that far from each other may two roundings be, after division by the std
        torch.testing.assert_close(processor(picture)["pixel_values"][0], ours, atol=one_level, rtol=0)


def test_a_stem_that_no_argument_of_timm_makes_is_refused_for_transformers(tmp_path):
    folder = saved(tmp_path / "encoder", SPECS[2])
    with pytest.raises(UsageError, match="cannot build a resnet18 with the stem 'no_pool'\nuse --to timm"):
        export_timm_wrapper(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_processor_that_normalises_otherwise_is_noticed(tmp_path, monkeypatch):
    module = sys.modules["selfstudy.export.timm_wrapper"]
    monkeypatch.setattr(module, "normalize", lambda images, mean, std: images)
    with pytest.raises(FileRefusedError, match="the exported network differs by"):
        export_timm_wrapper(saved(tmp_path / "encoder", SPECS[3]), tmp_path / "out")
    assert not (tmp_path / "out").exists()
