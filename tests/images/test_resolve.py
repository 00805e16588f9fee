"""Every auto becomes a value that suits the data, with a reason."""

import numpy as np
import pytest
import yaml

import selfstudy
from selfstudy import config as cfg
from selfstudy.errors import DataError, EnvironmentFault, UsageError
from selfstudy.images.config import ImageRunConfig
from selfstudy.images.opening import open_source
from selfstudy.images.resolve import inputs_of, resolve
from selfstudy.images.scan import scan
from selfstudy.machine.devices import precision_of
from selfstudy.methods import method_class


def _measure(spec, batch_size):
    return "bf16", f"measured at {spec.image_size}, {batch_size}"


def _resolve(shape=(40, 28, 28), method="simclr", memory=None, **settings):
    found = scan(open_source(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)), memory_bytes=memory)
    nested = {"data": {"path": "x"}, "method": {"name": method}}
    for key, value in settings.items():
        cfg.set_key(nested, key.replace("__", "."), value)
    return resolve(cfg.validate(ImageRunConfig, nested), found, method_class(method), measure=_measure)


def test_nothing_stays_auto_and_every_choice_has_a_reason():
    resolved = _resolve()
    flat = cfg.flatten(resolved.config.model_dump())
    assert not {key for key, value in flat.items() if value == "auto"} - {"data.modality"}  # named before
    started = cfg.flatten(cfg.validate(ImageRunConfig, {"data": {"path": "x"}}).model_dump())
    chosen = {key for key, value in started.items() if value == "auto"} - {"data.modality", "method.name"}
    assert chosen == resolved.reasons.keys() - {"method.temperature"} and all(resolved.reasons.values())


def test_what_was_given_is_kept_and_has_no_reason():
    resolved = _resolve(train__batch_size=8, optimizer__lr=0.5, data__image_size=16, method__temperature=0.7)
    assert resolved.config.train.batch_size == 8 and resolved.config.optimizer.lr == 0.5
    assert resolved.inputs.size == (16, 16) and resolved.config.method["temperature"] == 0.7
    assert not {"train.batch_size", "optimizer.lr", "data.image_size", "method.temperature"} & resolved.reasons.keys()


@pytest.mark.parametrize(
    ("shape", "size"), [((9, 28, 28), (28, 28)), ((9, 40, 60), (40, 60)), ((9, 150, 200), (128, 128))]
)
def test_the_image_size_is_the_images_own_while_that_is_small(shape, size):
    assert _resolve(shape).inputs.size == size


def test_the_mean_is_measured():
    assert _resolve().config.data.mean == [pytest.approx(0.5, abs=0.01)]


def test_workers_are_for_images_that_do_not_fit_in_memory():
    assert _resolve().config.train.workers == 0
    assert _resolve(memory=0).config.train.workers >= 1


@pytest.mark.parametrize("given", [{"name": "adamw"}, {"name": "sgd", "lr": 0.1}])
def test_the_recipes_optimizer_may_be_named_and_any_other_comes_with_its_rate(given):
    optimizer = _resolve(optimizer=given).config.optimizer
    assert optimizer.name == given["name"] and optimizer.lr == given.get("lr", _resolve().config.optimizer.lr)


@pytest.mark.parametrize(
    ("settings", "error", "text"),
    [
        ({"train__batch_size": 1}, UsageError, "batch size 1: a method needs at least 2"),
        ({"train__batch_size": 64}, DataError, "found 40 usable images, batch size 64\nuse --batch-size 32 or add"),
        (
            {"optimizer__name": "lars"},
            UsageError,
            "lars without optimizer.lr: the method's recipe is for adamw",
        ),
        ({"data__mean": [0.5] * 3}, UsageError, "data.mean holds 3 numbers, images have 1 channels\ngive one"),
        ({"data__std": [0.2] * 2}, UsageError, "data.std holds 2 numbers"),
        ({"method__momentum": 3}, UsageError, "unknown setting 'method.momentum'"),
    ],
)
def test_what_cannot_be_is_refused_with_what_can(settings, error, text):
    with pytest.raises(error, match=text):
        _resolve(**settings)


def test_a_device_that_is_not_here_is_refused(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(EnvironmentFault, match="device 'cuda' is not available on this machine"):
        _resolve(train__device="cuda")


@pytest.mark.parametrize(("supported", "precision"), [(True, "bf16"), (False, "fp32")])
def test_bf16_is_chosen_on_gpus_that_have_it(monkeypatch, supported, precision):
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda including_emulation: supported)
    assert precision_of("cuda")[0] == precision


def test_on_processors_the_precision_is_measured_with_the_encoder_that_is_trained():
    resolved = _resolve()
    assert precision_of("cpu") is None and resolved.train.precision == "bf16"
    assert resolved.reasons["train.precision"] == "measured at (28, 28), 8"


def test_the_typed_values_are_those_of_the_configuration():
    resolved = _resolve(method="mae")
    config, inputs = resolved.config, resolved.inputs
    assert resolved.method is method_class("mae") and resolved.settings.model_dump().items() <= config.method.items()
    assert resolved.optimizer._asdict() == config.optimizer.model_dump()
    assert (
        resolved.train.batch_size == config.train.batch_size and str(resolved.train.duration) == config.train.duration
    )
    assert (inputs.size, inputs.channels) == (tuple(config.data.image_size), config.data.channels) == ((28, 28), 1)
    assert (inputs.encoder.name, inputs.encoder.patch_size) == (config.encoder.name, config.encoder.patch_size)
    assert inputs_of(config, method_class("mae")) == inputs


def test_a_configuration_of_an_earlier_version_still_says_what_was_built():
    config = _resolve(encoder__name="resnet10t").config
    left = {"patch_size": "auto", "pool": "auto"}
    older = config.model_copy(update={"encoder": config.encoder.model_copy(update=left)})
    older = older.model_copy(update={"data": older.data.model_copy(update={"views": "auto"})})
    assert inputs_of(older, method_class("simclr")) == inputs_of(config, method_class("simclr"))


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
