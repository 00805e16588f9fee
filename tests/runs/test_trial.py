"""A trial measures real steps: their time grows with the batch, and their memory is what autograd keeps."""

import numpy as np
import pytest
import torch
from rich.console import Console

from selfstudy import config as cfg
from selfstudy.images.config import ImageRunConfig
from selfstudy.images.work import ImageWork
from selfstudy.runs.trial import StepCost, _line, _Saved, step_cost


def _work(method="simclr", encoder="resnet10t", images=64):
    settings = {
        "data": {"path": "x"},
        "method": {"name": method},
        "encoder": {"name": encoder},
        "train": {"device": "cpu", "precision": "fp32", "duration": "5 steps", "batch_size": images},
    }
    pixels = np.random.default_rng(0).integers(0, 256, (images, 32, 32, 3), dtype=np.uint8)
    work = ImageWork(pixels, cfg.validate(ImageRunConfig, settings), Console(quiet=True))
    return work, work.resolve()


def test_a_trial_takes_at_least_two_batches_and_leaves_the_work_as_it_was():
    work, resolved = _work()
    weights = work.build_method(resolved).state_dict()
    cost = step_cost(work, resolved, largest=16, seconds=0)
    assert cost.fixed >= 0 and cost.each >= 0 and cost.seconds(16) > 0
    again = work.build_method(resolved).state_dict()
    assert all(torch.equal(value, again[name]) for name, value in weights.items())


def test_memory_is_linear_in_the_batch_and_counts_the_copies_of_adamw():
    work, resolved = _work()
    small, large = (step_cost(work, resolved, largest=largest, seconds=0) for largest in (8, 32))
    assert small.each_bytes == pytest.approx(large.each_bytes, rel=0.1)
    weights = sum(weight.numel() for weight in work.build_method(resolved).parameters())
    assert small.fixed_bytes == pytest.approx(4 * 4 * weights, rel=0.01)
    assert small.memory(10) == small.fixed_bytes + 10 * small.each_bytes


def test_a_loss_that_needs_more_inputs_is_tried_on_larger_batches():
    work, resolved = _work("w_mse")
    assert step_cost(work, resolved, largest=64, seconds=0).each > 0


def test_the_line_goes_through_the_two_largest_batches_and_nothing_is_negative():
    assert _line([(4, 9.0), (8, 3.0), (16, 5.0)]) == (1.0, 0.25)
    assert _line([(8, 3.0), (16, 2.0)]) == (2.0, 0.0)
    assert _line([(8, 1.0), (16, 4.0)]) == (0.0, 0.25)
    assert _line([(8, 4.0)]) == (0.0, 0.5)


def test_tensors_that_share_their_memory_count_once_and_weights_do_not():
    layer = torch.nn.Linear(10, 10)
    saved = _Saved(layer)
    rows = torch.zeros(4, 10)
    for tensor in (rows, rows[:2], layer.weight, torch.zeros(5)):
        saved.note(tensor)
    saved.views = 60
    assert saved.bytes_of(2) == (160 + 20 + 2 * 160 + 60) / 2


def test_the_cost_of_a_step_is_a_line_in_the_batch():
    cost = StepCost(0.5, 0.01, 100.0, 3.0)
    assert cost.seconds(50) == 1.0 and cost.memory(50) == 250.0
