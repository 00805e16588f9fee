import copy
import math

import pytest
import torch
from torch import nn

from selfstudy.errors import TrainingError
from selfstudy.probes import finetune as room
from selfstudy.probes.finetune import RECIPE, Batch, Task, finetune, measure, order_of, protocol_of
from selfstudy.probes.results import wilson

QUICK = RECIPE._replace(epochs=3, steps=1, batch_size=16, clip=0.1)


class Encoder(nn.Module):
    """A layer, dropout and a norm, with ``embed_dim``."""

    def __init__(self, dropout=0.0):
        super().__init__()
        self.layer, self.norm, self.dropout = nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(dropout)
        self.embed_dim = 8

    def forward(self, x):
        return self.dropout(torch.relu(self.norm(self.layer(x))))


def encoder(**settings):
    torch.manual_seed(0)
    return Encoder(**settings).eval()


def problem(n=64, *, recipe=QUICK, test=None, network=None, **more):
    """Inputs whose class is the sign of one of their numbers, and another part of the same."""
    draw = torch.Generator().manual_seed(0)
    x, other = (torch.randn(n, 6, generator=draw) for _ in range(2))
    order = order_of(n, recipe)

    def train(step):
        rows = order.batch(step)[1]
        return Batch(x[rows], (x[rows, 2] > 0).long())

    batches = [Batch(part, (part[:, 2] > 0).long()) for part in other.split(20)] if test is None else test
    network = encoder() if network is None else network
    return Task("x", network, recipe, order, train, batches, n, 2, lambda net, inputs: net(inputs), "nothing", **more)


def adamw(module):
    return torch.optim.AdamW(module.parameters(), lr=7.0, weight_decay=0.05)


def test_it_trains_as_the_loop_written_out_does():
    task, by_hand = problem(), encoder()
    classifier = room._Classifier(task)
    room._train(classifier, task, adamw(classifier))
    by_hand.train()
    head = nn.Linear(8, 2)
    head.weight.data.zero_()
    head.bias.data.zero_()
    parameters = [*by_hand.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, weight_decay=0.05)
    for step in range(12):  # the first 1.2 are the warm-up
        falling = 0.5 + 0.5 * math.cos(math.pi * (step - 1.2) / (12 - 1.2))
        optimizer.param_groups[0]["lr"] = 1e-3 * (min((step + 1) / 1.2, 1) if step < 1.2 else falling)
        x, wanted = task.train(step)
        optimizer.zero_grad()
        nn.functional.cross_entropy(head(by_hand(x)), wanted).backward()
        nn.utils.clip_grad_norm_(parameters, 0.1)
        optimizer.step()
    torch.testing.assert_close(classifier.encoder.state_dict(), by_hand.state_dict())
    torch.testing.assert_close(classifier.head.state_dict(), head.state_dict())


def test_what_can_be_learnt_is_learnt_and_noise_is_not():
    long = RECIPE._replace(learning_rate=1e-2)
    task = problem(512, recipe=long)
    assert 100 * finetune(task, optimizer=adamw).double().mean() > 95
    draw = torch.Generator().manual_seed(1)
    noise = task._replace(train=lambda step: Batch(torch.randn(64, 6, generator=draw), torch.arange(64) % 2))
    assert 35 < 100 * finetune(noise, optimizer=adamw).double().mean() < 65


def test_the_encoder_that_was_given_stays_as_it_is():
    given = encoder(dropout=0.3)
    given.norm.train()
    before, modes = copy.deepcopy(given.state_dict()), [part.training for part in given.modules()]
    finetune(problem(network=given), optimizer=adamw)
    torch.testing.assert_close(given.state_dict(), before, rtol=0, atol=0)
    assert [part.training for part in given.modules()] == modes
    assert all(parameter.grad is None for parameter in given.parameters())


def test_nothing_but_the_seed_decides_and_no_random_state_is_touched():
    given, losses = encoder(dropout=0.5), []
    for state in (5, 6):
        torch.manual_seed(state)
        before = torch.get_rng_state()
        finetune(problem(network=given, report=losses.append), optimizer=adamw)
        assert torch.equal(before, torch.get_rng_state())
    assert len(losses) == 6 and losses[:3] == losses[3:]


def test_every_epoch_is_reported_and_few_examples_are_seen_in_more_of_them():
    lines = []
    finetune(problem(report=lines.append), optimizer=adamw)
    assert [line.partition(",")[0] for line in lines] == ["epoch 1 of 3", "epoch 2 of 3", "epoch 3 of 3"]
    assert problem(20, recipe=RECIPE).epochs == 200 and problem(6400, recipe=RECIPE).epochs == 10
    assert problem(130, recipe=RECIPE).epochs == 100  # of two steps each


def test_the_test_part_is_asked_once_at_the_end():
    seen = []

    def batches():
        for part in problem().test:
            seen.append(len(lines))
            yield part

    lines = []
    finetune(problem(test=batches(), report=lines.append), optimizer=adamw)
    assert seen == [3, 3, 3, 3]


def test_a_loss_that_is_not_finite_stops_with_the_step_and_what_to_do():
    task = problem()

    def train(step):
        inputs, targets = task.train(step)
        return Batch(inputs * math.nan if step == 5 else inputs, targets)

    with pytest.raises(TrainingError, match="the loss became nan at step 6 of 12\nusual causes: .*\nlook at the run's"):
        finetune(task._replace(train=train), optimizer=adamw)


@pytest.mark.parametrize("half", [True, False])
def test_the_encoder_runs_in_bfloat16_when_asked_and_what_makes_its_inputs_does_not(half):
    task, dtypes = problem(), []

    def train(step):
        assert not torch.is_autocast_enabled("cpu")
        return task.train(step)

    def embed(network, inputs):
        embedding = network.layer(inputs)
        dtypes.append(embedding.dtype)
        return embedding

    finetune(task._replace(train=train, embed=embed, half=half), optimizer=adamw)
    assert set(dtypes) == {torch.bfloat16 if half else torch.float32}


def test_the_protocol_names_every_choice():
    task = problem(640, recipe=RECIPE, half=True)._replace(how="crops", n_test=50)
    assert protocol_of(task) == (
        "fine-tuned: whole encoder and linear head, AdamW 0.001 (weight decay 0.05, warm-up over 10 %, cosine to 0, "
        "gradient clipped at 1), 20 epochs, batch 64, crops, bf16, seed 0, final model, 640 train / 50 test, "
        "test used once"
    )


def test_the_probe_trains_with_adamw_under_its_recipe():
    (score,) = measure(problem(512, recipe=RECIPE._replace(learning_rate=1e-2)))
    assert (score.features, score.probe) == ("x", "finetune") and score.accuracy > 95
    assert score.interval == wilson(score.accuracy, 512)
    assert score.protocol.startswith("fine-tuned: whole encoder and linear head, AdamW 0.01 (weight decay 0.05,")
