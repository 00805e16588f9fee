"""Every auto becomes a value that suits the data, with a reason."""

import numpy as np
import pytest

from selfstudy import config as cfg
from selfstudy.errors import DataError, EnvironmentFault, UsageError
from selfstudy.images.config import ImageRunConfig
from selfstudy.images.opening import open_source
from selfstudy.images.resolve import of_config, resolve
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
    chosen = {key for key, value in started.items() if value == "auto"} - {"data.modality"}
    assert chosen == resolved.reasons.keys() - {"method.temperature"} and all(resolved.reasons.values())


def test_what_was_given_is_kept_and_has_no_reason():
    resolved = _resolve(train__batch_size=8, optimizer__lr=0.5, data__image_size=16, method__temperature=0.7)
    assert resolved.config.train.batch_size == 8 and resolved.config.optimizer.lr == 0.5
    assert resolved.config.data.size == (16, 16) and resolved.config.method["temperature"] == 0.7
    assert not {"train.batch_size", "optimizer.lr", "data.image_size", "method.temperature"} & resolved.reasons.keys()


@pytest.mark.parametrize(
    ("shape", "size"), [((9, 28, 28), (28, 28)), ((9, 40, 60), (40, 60)), ((9, 150, 200), (128, 128))]
)
def test_the_image_size_is_the_images_own_while_that_is_small(shape, size):
    assert _resolve(shape).config.data.size == size


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
    assert (inputs.size, inputs.channels) == (config.data.size, config.data.channels) == ((28, 28), 1)
    assert (inputs.encoder.name, inputs.encoder.patch_size) == (config.encoder.name, config.encoder.patch_size)
    again = of_config(config, method_class("mae"))
    assert again.inputs == inputs and again.train == resolved.train


def test_a_configuration_of_an_earlier_version_still_says_what_was_built():
    config = _resolve(encoder__name="resnet10t").config
    left = {"patch_size": "auto", "pool": "auto"}
    older = config.model_copy(update={"encoder": config.encoder.model_copy(update=left)})
    older = older.model_copy(update={"data": older.data.model_copy(update={"views": "auto"})})
    assert of_config(older, method_class("simclr")).inputs == of_config(config, method_class("simclr")).inputs
