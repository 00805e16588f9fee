"""The duties of every solved method, as plain functions: the contract suite and the planted faults both call them."""

import copy
from collections.abc import Callable

import torch
import yaml

from selfstudy.encoders.store import load_encoder, save_encoder
from selfstudy.encoders.timm import EncoderSpec, build_encoder
from selfstudy.methods.solved import SolvedMethod
from tests.methods.contract import same

SIZE, CHANNELS, COUNT = (16, 20), 3, 40
Make = Callable[[], SolvedMethod]


class Images:
    """Passes over random images, as a run makes them."""

    def __init__(self, size=SIZE, channels=CHANNELS, count=COUNT, batch=16):
        images = torch.rand(count, channels, *size, generator=torch.Generator().manual_seed(5))
        self.images, self.inputs, self.batch = images, count, batch

    def __call__(self, at_most=None):
        yield from self.images[:at_most].split(self.batch)


def encoder_of(cls: type[SolvedMethod], config, size=SIZE, channels=CHANNELS):
    """The encoder that a method solves, before it is solved."""
    return build_encoder(EncoderSpec(cls.encoder_name, size, channels, settings=cls.encoder_settings(config)))


def solved(make: Make, seed: int = 0) -> SolvedMethod:
    """The method after all its stages."""
    method = make()
    for stage in range(len(method.stages)):
        method.solve(stage, Images(), seed=seed)
    return method


def stages_have_names(make: Make) -> None:
    stages = make().stages
    assert stages and len(set(stages)) == len(stages) and all(stage.isidentifier() for stage in stages)


def figures_are_finite_numbers(make: Make) -> None:
    method = make()
    for stage in range(len(method.stages)):
        figures = method.solve(stage, Images(), seed=0)
        assert all(isinstance(value, float) and abs(value) < float("inf") for value in figures.values())


def same_seed_same_encoder(make: Make) -> None:
    first, again, other = (solved(make, seed).state_dict() for seed in (7, 7, 8))
    assert same(first, again) and not same(first, other)


def resuming_after_any_stage_is_exact(make: Make) -> None:
    straight, states = make(), []
    for stage in range(len(straight.stages)):
        states.append(copy.deepcopy(straight.state_dict()))
        straight.solve(stage, Images(), seed=0)
    for done, state in enumerate(states):
        resumed = make()
        resumed.load_state_dict(state)
        for stage in range(done, len(straight.stages)):
            resumed.solve(stage, Images(), seed=0)
        assert same(straight.state_dict(), resumed.state_dict()), f"resumed after {done} stages"


def every_stage_changes_the_state(make: Make) -> None:
    method = make()
    for stage in range(len(method.stages)):
        before = copy.deepcopy(method.state_dict())
        method.solve(stage, Images(), seed=0)
        assert not same(before, method.state_dict())


def nothing_has_a_gradient(make: Make) -> None:
    method = solved(make)
    assert not [name for name, parameter in method.named_parameters() if parameter.requires_grad]
    assert not method.encoder(Images().images[:2]).requires_grad


def evaluation_changes_no_state(make: Make) -> None:
    method = solved(make).eval()
    before = copy.deepcopy(method.state_dict())
    method.encoder(Images().images)
    assert same(before, method.state_dict())


def embeddings_do_not_depend_on_the_batch(make: Make) -> None:
    encoder, images = solved(make).eval().encoder, Images().images
    together, alone = encoder(images), torch.cat([encoder(image[None]) for image in images])
    assert together.shape == (COUNT, encoder.embed_dim) and torch.isfinite(together).all()
    torch.testing.assert_close(together, alone, atol=1e-3, rtol=1e-3)


def the_encoder_survives_saving(make: Make, folder) -> None:
    method = solved(make)
    extra = {"weights": "student", "method": "any", "seed": 0}
    save_encoder(method.encoder, folder, mean=[0.5] * CHANNELS, std=[0.2] * CHANNELS, extra=extra)
    loaded, description = load_encoder(folder)
    assert torch.equal(loaded(Images().images), method.eval().encoder(Images().images))
    assert description["name"] == method.encoder_name


def config_survives_yaml(make: Make) -> None:
    config = make().config
    assert type(config)(**yaml.safe_load(yaml.safe_dump(config.model_dump(mode="json")))) == config


CHECKS = [
    stages_have_names,
    figures_are_finite_numbers,
    same_seed_same_encoder,
    resuming_after_any_stage_is_exact,
    every_stage_changes_the_state,
    nothing_has_a_gradient,
    evaluation_changes_no_state,
    embeddings_do_not_depend_on_the_batch,
    config_survives_yaml,
]
