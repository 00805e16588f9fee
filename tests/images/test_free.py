"""Features of images that are free."""

import io

import numpy as np
import pytest
import torch
from rich.console import Console

from selfstudy.encoders.timm import EncoderSpec, build_encoder
from selfstudy.images.embedder import Embedder
from selfstudy.images.free import FirstEncoder, FreePatches, RawPixels, untrained
from selfstudy.images.opening import open_source
from selfstudy.images.scan import scan
from selfstudy.nn.statistics import set_statistics
from selfstudy.probes.evaluation import LeftOutError
from selfstudy.views.preprocess import Preprocessing

PLAIN = Preprocessing((16, 16), 3, [0.5] * 3, [0.2] * 3)
IMAGES = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3), dtype=np.uint8)


def embedder(name="resnet10t", **changes):
    torch.manual_seed(5)
    encoder = build_encoder(EncoderSpec(name, PLAIN.size))
    return Embedder(encoder, PLAIN, encoder.description | {"seed": 3} | changes, device="cpu")


def first(trained, console=None):
    source = open_source(IMAGES)
    return FirstEncoder(trained, source, scan(source), console=console or Console(quiet=True))


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


def patches(images, size=(16, 16)):
    source = open_source(images)
    return FreePatches(PLAIN._replace(size=size), source, scan(source))


def test_patches_are_the_same_for_all_encoders_and_tell_textures_apart():
    flat = np.repeat(np.random.default_rng(0).integers(0, 256, (40, 16, 1, 1), dtype=np.uint8), 16, axis=2)
    images = np.repeat(flat, 3, axis=3)  # rows of one colour each
    images[::2] = images[::2].transpose(0, 2, 1, 3)  # and columns
    row, decoded = patches(images), [torch.from_numpy(image).permute(2, 0, 1) for image in images]
    features = row(decoded)
    assert row.name == "patches" and row.shape == (3, 16, 16) and features.shape == (40, 10)
    columns, rows = features[::2].mean(dim=0), features[1::2].mean(dim=0)
    nearer = (features - columns).norm(dim=1) < (features - rows).norm(dim=1)
    assert (nearer == (torch.arange(40) % 2 == 0)).float().mean() > 0.9
    other = FreePatches(Preprocessing((16, 16), 3, [0.1] * 3, [0.9] * 3), row._source, row._found)
    assert torch.equal(other(decoded), features)


def test_large_images_are_made_smaller_for_patches_and_keep_their_shape():
    assert patches(IMAGES, (224, 112)).shape == (3, 32, 16) and patches(IMAGES, (20, 28)).shape == (3, 20, 28)


@pytest.mark.parametrize(
    ("images", "size", "reason"),
    [
        (IMAGES, (6, 6), "images of 6x6 px are smaller than its patches"),
        (IMAGES, (32, 8), "images of 32x8 px are smaller than its patches"),
        (np.zeros((9, 16, 16, 3), np.uint8), (16, 16), "every image is one flat colour"),
        (IMAGES[:1], (16, 16), "an embedding of 1 numbers needs more images than that"),
    ],
)
def test_images_without_patches_leave_the_row_out(images, size, reason):
    with pytest.raises(LeftOutError, match=reason):
        patches(images, size)([torch.zeros(3, 16, 16)])
