"""What the loop does differently beside a GPU, on a processor."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from rich.console import Console

from selfstudy.images.batches import TrainingData
from selfstudy.modalities import SETTINGS, open_work
from selfstudy.runs.folder import RunFolder
from selfstudy.runs.pretraining import launch, make_trainer
from selfstudy.runs.settings import build_config

STEPS = 4


def _trained(accumulate, *, ahead):
    """Losses, weights, and which micro-batches were made before which step."""
    images = np.random.default_rng(0).integers(0, 256, (20, 16, 16, 3), dtype=np.uint8)
    given = {"method": "simclr", "encoder": "resnet10t", "steps": STEPS, "batch_size": 8, "device": "cpu"}
    given |= {"precision": "fp32", "set": {"train.accumulate": accumulate}}
    config = build_config(images, {}, keywords=given, models=SETTINGS)
    work = open_work(images, config, Console(quiet=True))
    method, resolved = work.build_method()
    trainer = make_trainer(launch(config.train), method, resolved, work, RunFolder("unused"))
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
def test_views_made_ahead_are_those_of_their_step_and_none_is_made_in_vain(accumulate):
    losses, weights, counts = _trained(accumulate, ahead=False)
    same_losses, same_weights, counts_ahead = _trained(accumulate, ahead=True)
    assert losses == same_losses and all(torch.equal(weights[name], same_weights[name]) for name in weights)
    assert counts == [accumulate * step for step in range(1, STEPS + 1)]
    assert counts_ahead == [min(count + 1, STEPS * accumulate) for count in counts]
