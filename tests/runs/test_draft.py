"""A draft decides what was left open, keeps what was given, and refuses what does not fit the recipe."""

import pytest

from selfstudy import config as cfg
from selfstudy.errors import DataError, UsageError
from selfstudy.images.config import ImageRunConfig
from selfstudy.methods.base import DataFacts
from selfstudy.methods.simclr import SimCLR
from selfstudy.runs.draft import Draft, default_duration, largest_batch, require_one_batch

FACTS = DataFacts(inputs=100, size=(32, 32), channels=3, batch_size=64, total_steps=50)


def _draft(**groups):
    return Draft(cfg.validate(ImageRunConfig, {"data": {"path": "photos"}, **groups}))


def test_an_open_setting_is_decided_once_and_a_given_one_stays():
    draft = _draft(train={"batch_size": 8})
    assert draft.decide("train.batch_size", 4, "small data") == 8
    assert draft.is_open("encoder.name") and draft.decide("encoder.name", "resnet18", "usual") == "resnet18"
    assert not draft.is_open("encoder.name") and draft.decide("encoder.name", "resnet50", "large") == "resnet18"
    assert draft.get("encoder.name") == "resnet18" and draft.reasons == {"encoder.name": "usual"}


def test_a_recipe_fills_the_optimizer_and_the_method():
    draft = _draft(method={"name": "simclr", "hidden_dim": 32})
    draft.decide_recipe(SimCLR, FACTS)
    assert draft.settings["method"] == {"name": "simclr", "temperature": 0.2, "hidden_dim": 32, "projection_dim": 128}
    optimizer = draft.settings["optimizer"]
    assert (optimizer["name"], optimizer["lr"], optimizer["beta2"]) == ("adamw", pytest.approx(1e-3), 0.999)
    assert draft.reasons["optimizer.lr"] == "0.002 x sqrt(batch size 64 / 256)"
    assert draft.reasons["optimizer.momentum"] == "adamw has no use for it"
    assert draft.reasons["optimizer.clip"] == "the method's recipe"


def test_the_optimizer_of_another_recipe_needs_its_rate():
    text = "optimizer.name=sgd without optimizer.lr: the method's recipe is for adamw only\nset optimizer.lr too, or"
    with pytest.raises(UsageError, match=text):
        _draft(optimizer={"name": "sgd"}).decide_recipe(SimCLR, FACTS)
    draft = _draft(optimizer={"name": "sgd", "lr": 0.1})
    draft.decide_recipe(SimCLR, FACTS)
    assert (draft.get("optimizer.name"), draft.get("optimizer.lr"), draft.get("optimizer.momentum")) == (
        "sgd",
        0.1,
        0.9,
    )
    assert draft.reasons["optimizer.beta2"] == "sgd has no use for it"


def test_a_setting_that_the_method_does_not_have_is_refused():
    with pytest.raises(UsageError, match="unknown setting 'method.temprature'; did you mean 'temperature'"):
        _draft(method={"name": "simclr", "temprature": 0.1}).decide_recipe(SimCLR, FACTS)


@pytest.mark.parametrize(
    ("duration", "steps"), [("3 epochs", 36), ("7 steps", 7), ("160 samples", 20), ("2 minutes", 150)]
)
def test_expected_steps_follow_the_duration(duration, steps):
    draft = _draft(train={"duration": duration, "batch_size": 8})
    assert draft.expected_steps(100, per_second=10) == steps


def test_a_cpu_is_kept_with_its_reason():
    draft = _draft(train={"device": "cpu"})
    assert draft.decide_machine() == "cpu" and "train.device" not in draft.reasons


@pytest.mark.parametrize(("inputs", "batch"), [(1, 2), (8, 2), (16, 4), (31, 4), (32, 8), (10_000, 256)])
def test_the_largest_batch_leaves_four_of_them_in_an_epoch(inputs, batch):
    assert largest_batch(inputs, 256) == batch


@pytest.mark.parametrize(("inputs", "epochs", "seen"), [(1, 400, "400"), (500, 20, "10,000"), (5000, 10, "50,000")])
def test_a_run_sees_about_as_much_as_it_should_in_10_to_400_epochs(inputs, epochs, seen):
    assert default_duration(inputs, 10_000, "images") == (f"{epochs} epochs", f"{seen} images seen")


def test_data_must_fill_a_batch_of_two_or_more():
    require_one_batch(8, 8, "images")
    require_one_batch(2, 2, "images")
    with pytest.raises(UsageError, match="batch size 1: a method needs at least 2 to tell apart"):
        require_one_batch(8, 1, "images")
    with pytest.raises(DataError, match="found 1 images, at least 2 are needed to learn from\nadd data"):
        require_one_batch(1, 2, "images")
    with pytest.raises(DataError, match="found 7 images, batch size 8\nuse --batch-size 4 or add data"):
        require_one_batch(7, 8, "images")
