"""The plan follows from measured costs: here from made-up ones, on a machine that does not exist."""

import pytest

from selfstudy import config as cfg
from selfstudy.errors import EnvironmentFault, UsageError
from selfstudy.images import plan as planning
from selfstudy.images.config import ImageRunConfig
from selfstudy.images.plan import Candidate, Room, make_plan, method_for
from selfstudy.methods.reads import Images
from selfstudy.runs.draft import Draft
from selfstudy.runs.trial import StepCost

GIGABYTE = 10**9
IMAGES = Images()


class Machine:
    """Costs that follow the pixels of a candidate; notes which were measured."""

    def __init__(self, seconds_per_megapixel):
        self.speed, self.tried = seconds_per_megapixel, []

    def __call__(self, candidate):
        self.tried.append(str(candidate))
        megapixels = candidate.work / 1e6
        return StepCost(0.01, self.speed * megapixels, GIGABYTE / 10, GIGABYTE * megapixels)


def _plan(
    machine, *, seconds=100.0, memory=20.0, reads=IMAGES, size=(224, 224), inputs=5000, photo=(384, 512), **given
):
    settings = {"data": {"path": "x"}, "method": {"name": "simclr"}, "train": {"duration": "2 minutes"}}
    for key, value in given.items():
        cfg.set_key(settings, key.replace("__", "."), value)
    draft = Draft(cfg.validate(ImageRunConfig, settings))
    room = Room(inputs=inputs, seconds=seconds, bytes=memory * GIGABYTE, minutes=2, photo=photo)
    return make_plan(draft, reads, size=size, room=room, trial=machine)


def test_a_fast_machine_takes_all_pixels_the_large_network_and_the_large_batch():
    plan = _plan(Machine(0.001))
    assert (plan.candidate, plan.batch) == (Candidate("resnet18", (224, 224)), 256)
    assert plan.steps == int(100 / (0.01 + 256 * 0.001 * 0.050176)) >= planning.ENOUGH_STEPS


@pytest.mark.parametrize(
    ("speed", "candidate", "batch"),
    [
        (0.05, "resnet18 at 224x224 px", 128),
        (0.1, "resnet18 at 224x224 px", 64),
        (0.15, "resnet10t at 224x224 px", 64),
        (0.3, "resnet18 at 128x128 px", 64),
        (1.0, "resnet18 at 64x64 px", 64),
        (2.5, "resnet18 at 32x32 px", 64),
        (9.0, "resnet10t at 32x32 px", 64),
    ],
)
def test_a_slower_machine_takes_fewer_pixels_then_the_smaller_network_then_a_smaller_batch(speed, candidate, batch):
    plan = _plan(Machine(speed))
    assert (str(plan.candidate), plan.batch) == (candidate, batch)


def test_few_candidates_are_measured_and_the_chosen_one_is():
    machine = Machine(0.3)
    plan = _plan(machine)
    assert machine.tried[0] == "resnet10t at 32x32 px" and machine.tried[-1] == str(plan.candidate)
    assert len(machine.tried) <= 4 and len(set(machine.tried)) == len(machine.tried)


def test_the_open_settings_get_the_measurement_as_their_reason():
    plan = _plan(Machine(0.001))
    reason = f"measured: 0.023 s a step here, {plan.steps:,} steps in 2 minutes"
    assert plan.reasons == dict.fromkeys(("data.image_size", "encoder.name", "train.batch_size"), reason)


def test_what_is_fixed_is_kept_and_nothing_else_is_measured():
    machine = Machine(0.3)
    given = {"encoder__name": "resnet34", "data__image_size": 96, "train__batch_size": 32}
    plan = _plan(machine, **given)
    assert (plan.candidate, plan.batch, plan.reasons) == (Candidate("resnet34", (96, 96)), 32, {})
    assert machine.tried == ["resnet34 at 96x96 px"]


def test_methods_on_patches_choose_among_transformers():
    assert _plan(Machine(0.001), reads=Images(tokens=True)).candidate.encoder == "vit_small_patch16_224"
    assert _plan(Machine(1.0), reads=Images(tokens=True)).candidate.encoder == "vit_tiny_patch16_224"


def test_a_smaller_size_has_a_line_with_its_price():
    notes = _plan(Machine(1.0)).notes
    assert notes[-1] == (
        "images of 384x512 px are trained at 64x64 px: details below 6 px are lost; "
        "--image-size 96 would take 4 minutes"
    )
    assert sum(note.endswith("(measured)") for note in notes) >= 2 and notes[0].endswith("GB (scaled)")


def test_images_that_keep_their_pixels_have_no_price():
    assert not any("lost" in note for note in _plan(Machine(0.001), size=(32, 32), photo=(32, 32)).notes)


def test_few_steps_have_a_line_with_the_minutes_that_would_hold_enough():
    plan = _plan(Machine(20.0), data__image_size=32, encoder__name="resnet18")
    assert planning.FEWEST_STEPS < plan.steps < planning.ENOUGH_STEPS
    assert plan.notes[-1] == f"{plan.steps} steps are few to learn from: --minutes 7 would hold 300"


def test_memory_takes_the_smaller_batch_before_fewer_pixels():
    plan = _plan(Machine(0.001), memory=7.0)
    assert (str(plan.candidate), plan.batch) == ("resnet18 at 224x224 px", 128)
    assert str(_plan(Machine(0.001), memory=2.0).candidate) == "resnet10t at 224x224 px"


def test_a_plan_that_cannot_work_is_refused_with_the_nearest_that_can():
    with pytest.raises(UsageError) as caught:
        _plan(Machine(0.8), encoder__name="resnet18", data__image_size=224, train__batch_size=256)
    assert str(caught.value) == (
        "resnet18 at 224x224 px, batch 256, takes 10 s a step here: 9 steps in 2 minutes, at least 20 are needed\n"
        "use --image-size 32, or --minutes 52"
    )


def test_a_budget_of_seconds_is_refused_with_minutes_that_work():
    with pytest.raises(UsageError, match=r"0 steps in 2 minutes, at least 20 are needed\nuse --minutes 3$"):
        _plan(Machine(0.3), seconds=-5.0)


def test_memory_that_holds_no_candidate_is_refused_with_a_batch_that_fits():
    with pytest.raises(EnvironmentFault) as caught:
        _plan(Machine(0.001), memory=0.13)
    assert str(caught.value) == (
        "resnet10t at 32x32 px, batch 64, needs 0.1 GB, 0.1 GB are free\n"
        "use --batch-size 32, a smaller --image-size, or more memory"
    )
    with pytest.raises(
        EnvironmentFault, match="use a smaller --image-size or --encoder, or a machine with more memory"
    ):
        _plan(Machine(0.001), memory=0.05)


@pytest.mark.parametrize(("inputs", "batches"), [(8, [2]), (400, [64]), (1000, [128, 64]), (5000, [256, 128, 64])])
def test_the_batches_to_choose_from_leave_four_to_an_epoch(inputs, batches):
    draft = Draft(cfg.validate(ImageRunConfig, {"data": {"path": "x"}}))
    assert planning._batches(draft, Images(), inputs) == batches


@pytest.mark.parametrize(
    ("settings", "device", "method", "reason"),
    [
        ({"train": {"duration": "3 minutes"}}, "cpu", "patches", "no training is known to beat it within 60 minutes"),
        ({"train": {"duration": "61 minutes"}}, "cpu", "simclr", "up to 60 minutes nothing beats patches here"),
        ({"train": {"duration": "3 minutes"}}, "cuda", "simclr", "usual"),
        ({"train": {"duration": "9 steps"}}, "cpu", "simclr", "a budget without minutes is for training"),
        ({}, "cpu", "simclr", "a budget without minutes is for training"),
        (
            {"train": {"duration": "3 minutes"}, "encoder": {"name": "resnet18"}},
            "cpu",
            "simclr",
            "encoder.name is for training",
        ),
        ({"train": {"duration": "3 minutes", "batch_size": 8}}, "cpu", "simclr", "train.batch_size is for training"),
    ],
)
def test_auto_takes_patches_where_no_training_is_known_to_win(settings, device, method, reason):
    config = cfg.validate(ImageRunConfig, {"data": {"path": "x"}, **settings})
    found, why = method_for(config, device, True)
    assert found == method and why.startswith(reason)
    assert method_for(config, device, False)[0] == "simclr"


def test_from_the_crossing_on_auto_trains(monkeypatch):
    monkeypatch.setattr(planning, "CROSSING_MINUTES", 20.0)
    for minutes, method in ((19, "patches"), (20, "simclr")):
        config = cfg.validate(ImageRunConfig, {"data": {"path": "x"}, "train": {"duration": f"{minutes} minutes"}})
        assert method_for(config, "cpu", True)[0] == method
