"""The training loop: views made ahead, and the pace of every parameter group."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from rich.console import Console

from selfstudy import modalities
from selfstudy.images.batches import TrainingData
from selfstudy.runs.folder import RunFolder
from selfstudy.runs.pretraining import launch, make_trainer
from selfstudy.train.checkpoint import CheckpointStore
from selfstudy.train.monitor import ProgressBar, Unit

STEPS = 4


def _trainer(encoder="resnet10t", **settings):
    """A trainer of SimCLR on random images, and its method."""
    images = np.random.default_rng(0).integers(0, 256, (20, 16, 16, 3), dtype=np.uint8)
    given = {"method": "simclr", "encoder": encoder, "steps": STEPS, "batch_size": 8, "device": "cpu"}
    config = modalities.configured(images, {}, given | {"precision": "fp32", "set": settings})
    work = modalities.named("images").open(images, config, Console(quiet=True))
    resolved = work.resolve()
    method = work.build_method(resolved)
    return make_trainer(launch(config.train), method, resolved, work, RunFolder("unused")), method


def _trained(accumulate, *, ahead):
    """Losses, weights, and which micro-batches were made before which step."""
    trainer, method = _trainer(**{"train.accumulate": accumulate})
    trainer.plan = replace(trainer.plan, ahead=ahead)
    made, losses, counts = [], [], []
    with pytest.MonkeyPatch.context() as patch:
        original = TrainingData.__getitem__
        patch.setattr(TrainingData, "__getitem__", lambda data, item: (made.append(item), original(data, item))[1])
        trainer.begin()
        while not trainer.clock.is_over(progress := trainer.clock.progress(trainer.steps_done)):
            observation = trainer.step(progress)
            losses.append(observation.loss)
            counts.append(len(made))
            assert 0 < observation.wait_seconds < observation.seconds or (ahead and trainer.steps_done == STEPS)
    assert made == list(range(STEPS * accumulate))
    return losses, {name: value.clone() for name, value in method.state_dict().items()}, counts


@pytest.mark.parametrize("accumulate", [1, 2])
def test_views_made_ahead_are_those_of_their_step_and_none_is_made_without_use(accumulate):
    losses, weights, counts = _trained(accumulate, ahead=False)
    same_losses, same_weights, counts_ahead = _trained(accumulate, ahead=True)
    assert losses == same_losses and all(torch.equal(weights[name], same_weights[name]) for name in weights)
    assert counts == [accumulate * step for step in range(1, STEPS + 1)]
    assert counts_ahead == [min(count + 1, STEPS * accumulate) for count in counts]


def test_the_outcome_counts_the_inputs_of_this_process_and_the_steps_of_the_run(tmp_path):
    trainer, _ = _trainer()
    trainer.steps_done = 1  # as after a checkpoint
    outcome = trainer.run(CheckpointStore(tmp_path, keep=2), monitors=[], bar=ProgressBar(Console(quiet=True), Unit()))
    assert (outcome.steps, outcome.inputs) == (STEPS, (STEPS - 1) * 8)


def test_rates_and_decays_of_all_groups_follow_the_settings():
    settings = {"optimizer.lr": 0.5, "optimizer.warmup": 0.0, "optimizer.schedule": "linear", "optimizer.bias_lr": 2.0}
    settings |= {"optimizer.weight_decay": 0.1, "optimizer.final_weight_decay": 0.3, "optimizer.layer_decay": 0.5}
    trainer, method = _trainer("test_vit", **settings)
    trainer.begin()
    for _ in range(2):
        observation = trainer.step(trainer.clock.progress(trainer.steps_done))
    assert observation.metrics["learning_rate"] == pytest.approx(0.5 * 3 / 4)
    names = {id(parameter): name for name, parameter in method.named_parameters()}
    found = {
        names[id(parameter)]: (group["lr"] / 0.375, group["weight_decay"])
        for group in trainer._optimizer.param_groups
        for parameter in group["params"]
    }
    decay = pytest.approx(0.1 + 0.2 * (1 - np.cos(np.pi / 4)) / 2)
    assert found["projector.0.weight"] == (pytest.approx(1.0), decay)
    assert found["projector.1.weight"] == (pytest.approx(2.0), 0.0)
    assert found["encoder.network.blocks.5.attn.qkv.weight"] == (pytest.approx(0.5), decay)
    assert found["encoder.network.blocks.4.attn.qkv.bias"] == (pytest.approx(2 * 0.25), 0.0)


@pytest.mark.parametrize("way", ["all", "each"])
def test_gradients_are_clipped_as_the_settings_say(way, monkeypatch):
    """Every parameter has a gradient of norm 10; the limit is 1."""
    trainer, method = _trainer(**{"optimizer.clip": 1.0, "optimizer.clip_by": way})
    trainer.begin()
    seen = []
    monkeypatch.setattr(method, "before_step", lambda progress: _large_gradients(method))
    monkeypatch.setattr(trainer._stepper, "step", lambda *args: seen.append(method.projector[-1].weight.grad.norm()))
    trainer.step(trainer.clock.progress(0))
    count = len([p for p in method.parameters() if p.requires_grad])
    assert float(seen[0]) == pytest.approx(1.0 if way == "each" else count**-0.5, rel=1e-3)


def _large_gradients(method):
    for parameter in method.parameters():
        parameter.grad = torch.ones_like(parameter) * 10 / parameter.numel() ** 0.5
