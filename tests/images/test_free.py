"""Features of images that are free."""

import io

import numpy as np
import pytest
import torch
from rich.console import Console

from selfstudy.encoders.timm import EncoderSpec, build_encoder
from selfstudy.images.embedder import Embedder
from selfstudy.images.free import FirstEncoder, RawPixels, untrained
from selfstudy.images.opening import open_source
from selfstudy.images.scan import scan
from selfstudy.nn.statistics import set_statistics
from selfstudy.views.preprocess import Preprocessing

PLAIN = Preprocessing((16, 16), 3, [0.5] * 3, [0.2] * 3)
IMAGES = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3), dtype=np.uint8)


def embedder(name="resnet10t", **changes):
    torch.manual_seed(5)
    encoder = build_encoder(EncoderSpec(name, PLAIN.size))
    return Embedder(encoder, PLAIN, encoder.description | {"seed": 3} | changes, device="cpu")


def first(trained, console=None):
    source = open_source(IMAGES)
    return FirstEncoder(trained, source=source, found=scan(source), console=console or Console(quiet=True))


def test_raw_pixels_are_those_of_images_as_the_encoder_reads_them():
    pixels = RawPixels(PLAIN)
    images = [torch.from_numpy(image).permute(2, 0, 1) for image in IMAGES]
    assert torch.equal(pixels(images), torch.stack(images).flatten(1) / 255)
    assert pixels.name == "raw pixels" and pixels([torch.zeros(3, 40, 30)]).shape == (1, 3 * 16 * 16)
    assert RawPixels(PLAIN._replace(size=(64, 48))).name == "raw pixels (area-averaged to 32x24)"


def test_the_first_encoder_has_the_statistics_of_the_images_and_its_name_says_so():
    console = Console(record=True, file=io.StringIO(), width=200)
    trained, images = embedder(), [torch.from_numpy(image).permute(2, 0, 1) for image in IMAGES]
    row, expected = first(trained, console), untrained(trained)
    assert row.name == "untrained encoder, statistics set" and console.export_text(clear=False) == ""
    set_statistics(expected.encoder, [PLAIN.prepare_batch(images)])
    torch.testing.assert_close(row(images), expected.of_images(images), rtol=1e-3, atol=1e-5)
    row(images)  # the same encoder again
    assert console.export_text() == "         statistics of 14 normalisation layers set on 8 train images\n"


def test_a_first_encoder_without_such_layers_or_with_timms_weights_is_as_it_was(monkeypatch):
    assert first(embedder("test_vit")).name == "untrained encoder"
    monkeypatch.setattr("selfstudy.images.free.build_encoder", lambda spec: build_encoder(spec, fetch=False))
    row = first(embedder(pretrained=True))
    assert row.name == "timm's weights"
    means = [part for name, part in row.embedder.encoder.named_buffers() if name.endswith("running_mean")]
    assert means and not any(map(torch.any, means))


@pytest.mark.parametrize("change", [{"seed": 4}, {"stem": "small"}, {"image_size": [24, 16]}])
def test_two_first_encoders_have_one_key_only_if_they_are_the_same(change):
    assert first(embedder()).key == first(embedder(method="byol")).key
    assert first(embedder()).key != first(embedder(**change)).key


def test_an_encoder_of_another_package_has_no_key_because_its_code_can_change(monkeypatch):
    monkeypatch.setattr("selfstudy.images.free.from_packages", lambda: {"resnet10t": "an entry"})
    assert first(embedder()).key is None
