"""Rules for settings of runs on images, at their boundaries, as ``selfstudy.recipe`` shows them."""

import numpy as np
import pytest
import yaml

import selfstudy

GIVEN = {"encoder": "resnet10t", "device": "cpu", "precision": "fp32", "steps": 2}


def recipe(shape=(16, 16, 16), **settings):
    """The settings, and the text with their reasons, for noise of a shape (N, H, W)."""
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    text = selfstudy.recipe(images, **GIVEN | settings)
    return yaml.safe_load(text), text


@pytest.mark.parametrize(
    ("images", "batch"), [(2, 2), (7, 2), (11, 2), (15, 2), (16, 4), (31, 4), (32, 8), (127, 16), (128, 32)]
)
def test_the_batch_is_the_largest_power_of_two_with_four_batches_to_an_epoch(images, batch):
    settings, text = recipe((images, 8, 8))
    assert settings["train"]["batch_size"] == batch
    assert f"batch_size: {batch}  # for {images} images" in text


@pytest.mark.parametrize(
    ("side", "stem", "why"),
    [(64, "small", "keeps resolution at 64 px"), (65, "stock", "made for images like these (65 px)")],
)
def test_a_stem_for_small_images_is_for_up_to_64_pixels(side, stem, why):
    settings, text = recipe(image_size=side, steps=None, samples=2_000_000)
    assert settings["encoder"]["stem"] == stem
    assert why in text


@pytest.mark.parametrize(("samples", "stem"), [(2_000_000, "small"), (1_999_992, "stock")])
def test_a_stem_for_small_images_is_for_runs_of_two_million_images(samples, stem):
    assert recipe(steps=None, samples=samples, batch_size=8)[0]["encoder"]["stem"] == stem


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((4, 96, 64), [96, 64]),
        ((4, 97, 64), [64, 64]),
        ((4, 97, 97), [96, 96]),
        ((4, 127, 130), [96, 96]),
        ((4, 128, 130), [128, 128]),
        ((4, 110, 31), [31, 31]),
        ((4, 100, 9), [9, 9]),
    ],
)
def test_images_of_one_small_size_keep_it_and_others_get_the_largest_usual_size_they_fill(shape, size):
    assert recipe(shape)[0]["data"]["image_size"] == size
