"""The contract of solved methods, on every one in the folder, and on known-bad ones."""

import pytest
import torch

from selfstudy.methods import FAMILIES, available, method_class
from selfstudy.methods.base import DataFacts
from selfstudy.methods.patches import Patches
from selfstudy.views.spec import View, one_each
from tests.methods import solved_contract
from tests.methods.small_encoders import SOLVED, small_config
from tests.methods.solved_contract import CHECKS, Images, encoder_of


@pytest.fixture(autouse=True)
def _few_patches(monkeypatch):
    monkeypatch.setattr("selfstudy.methods.patches._PATCHES", 2_000)


def _make(cls, settings, **shape):
    config = cls.Config(**settings)
    return lambda: cls(encoder_of(cls, config, **shape), config)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", SOLVED)
def test_contract(name, check):
    check(_make(method_class(name), small_config(name)))


@pytest.mark.parametrize("name", SOLVED)
def test_the_encoder_survives_saving(name, tmp_path):
    solved_contract.the_encoder_survives_saving(_make(method_class(name), small_config(name)), tmp_path)


@pytest.mark.parametrize("name", SOLVED)
@pytest.mark.parametrize("shape", [((17, 13), 1), ((13, 21), 5)])
def test_odd_sizes_and_other_numbers_of_channels_work(name, shape):
    size, channels = shape
    method = _make(method_class(name), small_config(name), size=size, channels=channels)()
    read = Images(size, channels)
    for stage in range(len(method.stages)):
        method.solve(stage, read, seed=0)
    assert torch.isfinite(method.encoder(read.images)).all()


@pytest.mark.parametrize("name", SOLVED)
def test_its_one_view_is_the_whole_image(name):
    (view,) = one_each(method_class(name).default_views((20, 24)))
    assert isinstance(view, View) and (view.size, view.scale, view.flip) == ((20, 24), (1.0, 1.0), 0.0)


@pytest.mark.parametrize("name", SOLVED)
def test_its_recipe_has_no_optimizer_and_is_valid_from_tiny_to_huge_data(name):
    cls = method_class(name)
    for images, seconds in [(2, None), (100, 30.0), (50_000, None), (14_000_000, None)]:
        recipe = cls.recipe(DataFacts(images, (32, 32), 3, 2, len(cls.stages), seconds=seconds))
        cls.Config(**recipe.method)
        assert recipe.optimizer == {} and all(key.startswith("method.") for key in recipe.reasons)


def test_the_list_of_methods_says_that_they_need_no_gradient():
    assert SOLVED and {available()[name].family for name in SOLVED} == {"no gradient"} == {FAMILIES[-1]}


class DrawsWithoutASeed(Patches):
    def solve(self, stage, read, *, seed):
        return super().solve(stage, read, seed=int(torch.randint(10**6, (1,))))


class IgnoresTheSeed(Patches):
    def solve(self, stage, read, *, seed):
        return super().solve(stage, read, seed=0)


class KeepsFiltersOutsideTheState(Patches):
    def solve(self, stage, read, *, seed):
        if stage == 0:
            self.kept = super().solve(stage, read, seed=seed)
            return {}
        self.encoder.network.mean.fill_(float(hasattr(self, "kept")))
        return {}


class ForgetsAStage(Patches):
    def solve(self, stage, read, *, seed):
        return super().solve(0, read, seed=seed) if stage == 0 else {}


class HasSomethingToTrain(Patches):
    def __init__(self, encoder, config):
        super().__init__(encoder, config)
        self.scale = torch.nn.Parameter(torch.ones(()))


class CentresTheBatch(Patches):
    def __init__(self, encoder, config):
        super().__init__(encoder, config)
        encoder.network.register_forward_hook(lambda network, given, found: found - found.mean(dim=0))


class CountsImages(Patches):
    def __init__(self, encoder, config):
        super().__init__(encoder, config)
        encoder.network.register_forward_hook(lambda network, given, found: network.mean.add_(1.0)[:0].sum() and None)


class ReportsTensors(Patches):
    def solve(self, stage, read, *, seed):
        return {name: torch.tensor(value) for name, value in super().solve(stage, read, seed=seed).items()}


class NamesStagesTwice(Patches):
    stages = ("pass", "pass")


@pytest.mark.parametrize(
    ("fault", "check"),
    [
        (DrawsWithoutASeed, solved_contract.same_seed_same_encoder),
        (IgnoresTheSeed, solved_contract.same_seed_same_encoder),
        (KeepsFiltersOutsideTheState, solved_contract.resuming_after_any_stage_is_exact),
        (ForgetsAStage, solved_contract.every_stage_changes_the_state),
        (HasSomethingToTrain, solved_contract.nothing_has_a_gradient),
        (CountsImages, solved_contract.evaluation_changes_no_state),
        (CentresTheBatch, solved_contract.embeddings_do_not_depend_on_the_batch),
        (ReportsTensors, solved_contract.figures_are_finite_numbers),
        (NamesStagesTwice, solved_contract.stages_have_names),
    ],
)
def test_a_planted_fault_is_caught(fault, check):
    with pytest.raises(AssertionError):
        check(_make(fault, small_config("patches")))
