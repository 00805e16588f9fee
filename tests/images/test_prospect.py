"""From images and a machine to a configuration: the parts around the plan."""

import numpy as np
import pytest

from selfstudy import config as cfg
from selfstudy.images import prospect
from selfstudy.images.config import ImageRunConfig
from selfstudy.images.opening import open_source
from selfstudy.images.prospect import Prospect, fixed, is_planned, with_method
from selfstudy.methods import method_class
from selfstudy.runs.trial import StepCost


def _config(duration="2 minutes", **groups):
    given = {"data": {"path": "x"}, "method": {"name": "simclr"}, "train": {"duration": duration, "device": "cpu"}}
    return cfg.validate(ImageRunConfig, given | groups)


def _prospect(shape=(40, 300, 400), **groups):
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    config = _config(**groups)
    return Prospect.of(config, method_class(config.method["name"]), open_source(images))


class Trials:
    """Costs that follow the pixels of the trial; keeps the configurations."""

    def __init__(self, seconds_per_megapixel=1.0):
        self.speed, self.seen = seconds_per_megapixel, []

    def __call__(self, opened, resolved, *, seconds):
        self.seen.append((opened, resolved, seconds))
        height, width = resolved.inputs.size
        return StepCost(0.01, self.speed * height * width / 1e6, 1e8, 1e5)


def test_a_plan_decides_size_encoder_batch_and_the_size_of_reading():
    trials = Trials(9.0)
    decision = _prospect().plan(trials, spent=5.0)
    data = decision.config.data
    assert (data.image_size, data.shrink_to) == ((64, 64), 144)  # crops of a fifth of the area
    assert decision.config.encoder.name in ("resnet18", "resnet10t") and decision.config.train.batch_size == 8
    assert decision.reasons["data.shrink_to"] == "no crop gets fewer pixels than its view"
    assert decision.step_seconds == pytest.approx(0.01 + 8 * 9 * 64 * 64 / 1e6)
    assert decision.config.optimizer.lr == "auto"  # the recipe follows when the images are scanned


def test_images_that_are_not_much_larger_than_needed_are_read_whole():
    decision = _prospect((40, 32, 32)).plan(Trials(), spent=0.0)
    assert decision.config.data.shrink_to is None
    assert decision.reasons["data.shrink_to"] == "the images are not much larger than needed"


def test_trials_get_images_as_large_as_they_need_and_a_share_of_six_seconds():
    trials = Trials(9.0)
    _prospect().plan(trials, spent=5.0)
    (first, resolved, seconds), *_ = trials.seen
    assert resolved.inputs.size == (32, 32) and first.scan.images[0].shape == (1, 72, 96) and seconds == 2.0
    assert len(first.scan.good) == 8  # the largest batch for forty images


def test_a_plan_is_made_again_from_the_step_that_was_seen_and_from_new_trials_of_the_others():
    prospect_, trials = _prospect(), Trials(9.0)
    first = prospect_.plan(trials, spent=5.0)
    trials.speed *= 4
    again = prospect_.plan_again(first, 4.0, trials, spent=12.0)
    assert again.steps < first.steps and again.config.data.image_size == (32, 32)
    assert first.config.data.image_size == (64, 64)


def test_the_settings_that_the_user_gave_are_kept():
    decision = _prospect(encoder={"name": "resnet34"}, data={"path": "x", "shrink_to": 100}).plan(
        Trials(9.0), spent=0.0
    )
    assert decision.config.encoder.name == "resnet34" and decision.config.data.shrink_to == 100


@pytest.mark.parametrize(
    ("groups", "planned"),
    [
        ({}, True),
        ({"duration": "9 steps"}, False),
        ({"duration": "auto"}, False),
        ({"optimizer": {"lr": 0.1}}, False),  # as in the configuration of a run, which is resumed
        ({"train": {"duration": "2 minutes", "devices": 2}}, False),
    ],
)
def test_a_budget_in_minutes_on_one_device_is_planned_unless_all_is_decided(groups, planned):
    assert is_planned(_config(**groups)) == planned


def test_a_fixed_setting_leaves_the_others_open():
    config = fixed(_config(), {"encoder.name": "resnet10t"})
    assert config.encoder.name == "resnet10t" and config.encoder.stem == "auto"
    assert config.encoder.model_fields_set == {"name"}


def test_auto_becomes_a_method_with_its_reason(monkeypatch):
    monkeypatch.setattr(prospect, "entries", lambda: {"patches": None})
    config, reasons = with_method(_config(method={"name": "auto"}))
    assert config.method["name"] == "patches" and reasons["method.name"].startswith("no training is known to beat it")
    monkeypatch.setattr(prospect, "entries", dict)
    config, reasons = with_method(_config(method={"name": "auto"}))
    assert config.method["name"] == "simclr" and reasons == {"method.name": "usual"}
    assert with_method(_config()) == (_config(), {})


@pytest.mark.parametrize(
    ("shape", "duration", "side"),
    [((9, 300, 400), "2 minutes", 96), ((9, 300, 400), "1 epochs", "auto"), ((9, 60, 80), "2 minutes", None)],
)
def test_a_solved_method_reads_large_images_at_twice_the_size_it_looks_at(shape, duration, side):
    source = open_source(np.zeros(shape, np.uint8))
    config, reasons = prospect.with_side(_config(duration=duration), source, 48)
    assert config.data.shrink_to == side and bool(reasons) == (side != "auto")
