"""The rules about a run's health, and the monitor that reads it."""

import json
import math

import pytest
import torch
from torch import nn

from selfstudy.errors import TrainingError
from selfstudy.ops.schedules import Progress
from selfstudy.ops.spread import effective_rank
from selfstudy.train.health import HealthMonitor, HealthReading, References, verdict
from selfstudy.train.monitor import Observation
from tests.methods.small_encoders import ConvNet

NOISE = torch.rand(4, 3, 8, 8)
REFERENCES = References(chance=(100.0, "ln N"), plateau=(50.0, "of words"), uniform_entropy=200.0)


def normal(rows, dim, *, seed=0):
    return torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed))


def step(embedding, *, number=500, total=1000, loss=1.0, metrics=None, views=(), encoder=None):
    """An optimizer step as the loop shows it to monitors."""
    return Observation(
        progress=Progress(number, total),
        loss=loss,
        metrics=metrics or {},
        embedding=embedding,
        views=list(views),
        encoder=encoder or nn.Identity(),
        inputs=0 if embedding is None else len(embedding),
        wait_seconds=0.0,
        seconds=1.0,
        remaining_seconds=1.0,
    )


def readings(*steps, **settings):
    """The readings that a monitor takes of these steps."""
    found = []
    monitor = HealthMonitor(found.append, **({"every": 1} | settings))
    for one in steps:
        monitor(one)
    return found


def read(embedding, *, loss=1.0, metrics=None, chance=None, uniform=None, fraction=0.5, **settings):
    """The reading of one step."""
    observed = step(
        embedding, number=1000, total=round(1000 / fraction) if fraction else 10**9, loss=loss, metrics=metrics
    )
    return readings(observed, references=References(chance=chance, uniform_entropy=uniform), **settings)[0]


def test_isotropic_embeddings_are_healthy():
    reading = read(normal(512, 64))
    assert reading.verdict == "healthy"
    assert reading.message.startswith("healthy: effective rank 6") and "dimension std 1.00" in reading.message


def test_outputs_of_a_relu_are_healthy():
    assert read(normal(512, 64).relu()).verdict == "healthy"


def test_nearly_constant_embeddings_are_collapsed():
    reading = read(torch.ones(512, 64) + 0.01 * normal(512, 64))
    assert reading.verdict == "collapsed"
    assert reading.message == (
        "collapsed since step 1,000: all inputs get nearly the same embedding (dimension std 0.010; even spread is 1). "
        "Likely cause: the learning rate is too high, the inputs are too similar, or nothing in the loss keeps "
        "them apart. Change: lower optimizer.lr, look at what the method sees (views.png, if the run has one), "
        "or use another method."
    )


def test_an_encoder_whose_units_all_died_is_collapsed():
    reading = read(torch.zeros(512, 64))
    assert (reading.verdict, reading.effective_rank, reading.dimension_std) == ("collapsed", 0.0, 0.0)


def test_embeddings_on_one_line_are_collapsed_though_they_spread():
    reading = read(normal(512, 1) @ normal(1, 64) + 0.001 * normal(512, 64, seed=2))
    assert reading.dimension_std > 0.5
    assert reading.verdict == "collapsed"
    assert "all embeddings lie on about one line (effective rank 1." in reading.message


@pytest.mark.parametrize("embedding", [torch.ones(64, 8), normal(64, 1) @ normal(1, 8)], ids=["equal", "on a line"])
@pytest.mark.parametrize(("fraction", "expected"), [(0.0, "watch"), (0.099, "watch"), (0.1, "collapsed")])
def test_a_collapse_is_only_watched_in_the_first_tenth_of_training(embedding, fraction, expected):
    reading = read(embedding, fraction=fraction)
    assert reading.verdict == expected and reading.message.startswith(f"{expected} since step 1,000: all ")


@pytest.mark.parametrize("fraction", [0.01, 0.5])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_embeddings_that_are_not_finite_are_collapsed_at_any_time_and_null_in_json(bad, fraction):
    embedding = normal(64, 8)
    embedding[3, 2] = bad
    reading = read(embedding, fraction=fraction)
    assert reading.verdict == "collapsed" and "embeddings hold NaN or infinity" in reading.message
    assert reading.to_dict()["effective_rank"] is None


@pytest.mark.parametrize(
    ("loss", "fraction", "expected"),
    [(5.5374, 0.5, "watch"), (5.50, 0.5, "watch"), (5.4, 0.5, "healthy"), (5.5374, 0.05, "healthy")],
)
def test_a_loss_at_its_chance_value_is_watched_after_a_tenth_of_training(loss, fraction, expected):
    reading = read(normal(512, 64), loss=loss, chance=(5.5373, "ln(2B - 1)"), fraction=fraction)
    assert reading.verdict == expected
    assert reading.chance_loss == 5.5373


def test_the_message_about_chance_names_the_formula():
    message = read(normal(512, 64), loss=5.54, chance=(5.5373, "ln(2B - 1)")).message
    assert "watch since step 1,000: loss 5.54 = ln(2B - 1): the outputs are uniform, nothing is learnt yet." in message


@pytest.mark.parametrize(
    ("entropy", "expected"),
    [
        (6.93, "are uniform"),
        (0.001, "are single prototypes"),
        (4.95, "about the same for every input"),
        (3.0, "healthy"),
    ],
)
@pytest.mark.parametrize("chance", [(6.9315, "ln K"), None])
def test_a_teacher_at_either_end_of_its_entropy_is_watched_with_a_chance_loss_or_without(entropy, expected, chance):
    reading = read(normal(512, 64), loss=5.0, metrics={"teacher_entropy": entropy}, chance=chance, uniform=6.9315)
    assert expected in reading.message
    assert reading.teacher_entropy == entropy and reading.uniform_entropy == 6.9315


@pytest.mark.parametrize(("image_loss", "expected"), [(3.05, "loss 3.05 = teacher entropy"), (4.0, "healthy")])
def test_the_entropy_is_compared_with_the_loss_for_the_same_targets_and_no_other_term(image_loss, expected):
    metrics = {"teacher_entropy": 3.0, "image_loss": image_loss}
    for loss in (7.5, 2.0):  # with other terms, one of them negative as KoLeo may be
        reading = read(normal(512, 64), loss=loss, metrics=metrics, uniform=6.9315)
        assert expected in reading.message and reading.teacher_loss == image_loss


def test_a_teachers_entropy_needs_its_bound_and_is_not_judged_in_the_first_tenth_of_training():
    metrics = {"teacher_entropy": 6.93}
    assert read(normal(512, 64), loss=9.0, metrics=metrics, uniform=6.9315, fraction=0.05).verdict == "healthy"
    assert read(normal(512, 64), loss=9.0, metrics=metrics).verdict == "healthy"


def test_readings_come_every_few_steps_and_at_the_end():
    steps = [step(normal(8, 4, seed=s), number=s, total=12) for s in range(1, 13)]
    assert [reading.step for reading in readings(*steps, every=5)] == [5, 10, 12]


def test_a_verdict_says_since_when_and_starts_again_after_a_recovery():
    kinds = {10: normal(32, 8), 20: torch.ones(32, 8), 30: torch.ones(32, 8), 40: normal(32, 8), 50: torch.ones(32, 8)}
    found = readings(*(step(x, number=n, total=100) for n, x in kinds.items()), every=10, ring=32)
    assert [reading.message.partition(":")[0] for reading in found] == [
        "healthy",
        "collapsed since step 20",
        "collapsed since step 20",
        "healthy",
        "collapsed since step 50",
    ]


def test_a_reading_is_over_exactly_the_last_embeddings_of_the_ring():
    batches = [normal(10, 6, seed=seed) for seed in range(10)]
    found = readings(*(step(x, number=i + 1, total=20) for i, x in enumerate(batches)), every=10, ring=24)
    assert [reading.effective_rank for reading in found] == [pytest.approx(effective_rank(torch.cat(batches)[-24:]))]


@pytest.mark.parametrize(("ring", "kept"), [(20, 20), (21, 30), (24, 30)])
def test_the_ring_holds_no_more_batches_than_it_needs(ring, kept):
    monitor = HealthMonitor(lambda reading: None, every=1000, ring=ring)
    for number in range(1, 50):
        monitor(step(normal(10, 6), number=number))
    assert sum(len(batch) for batch in monitor._kept) == kept


def test_embeddings_overwritten_after_the_step_do_not_change_the_reading():
    found, buffer = [], normal(64, 8)
    monitor = HealthMonitor(found.append, every=2)
    monitor(step(buffer, number=1))
    buffer.zero_()
    monitor(step(None, number=2))
    assert found[0].effective_rank > 6


def test_alignment_is_read_of_the_first_two_views():
    def read_views(*views, number=1):
        return readings(step(normal(4, 3), number=number, views=views, encoder=nn.Flatten()))[0].alignment

    assert read_views(NOISE, -NOISE) == pytest.approx(4, abs=1e-4)
    assert read_views(NOISE, NOISE, -NOISE) == pytest.approx(0, abs=1e-4)
    assert read_views(NOISE) is None
    assert read_views(NOISE, NOISE[..., :4]) is None  # small crops
    assert read_views(NOISE.long(), NOISE) is None  # tokens and random numbers of one shape


def test_the_alignment_is_of_the_first_256_inputs():
    seen = []
    encoder = nn.Flatten()
    encoder.register_forward_hook(lambda module, inputs, output: seen.append(len(output)))
    readings(step(normal(4, 3), views=[NOISE.repeat(65, 1, 1, 1)] * 2, encoder=encoder))
    assert seen == [256, 256]


def test_a_frozen_batchnorm_stays_in_evaluation_mode_and_keeps_its_statistics():
    encoder = ConvNet().train()
    encoder.body[1].eval()  # frozen by the user
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    readings(step(normal(4, 3), views=[NOISE, NOISE], encoder=encoder))
    assert [encoder.training, encoder.body[1].training, encoder.body[4].training] == [True, False, True]
    assert all(torch.equal(before[name], value) for name, value in encoder.state_dict().items())


def test_a_collapse_stops_training_if_the_run_asks_for_it():
    constant, mild = torch.ones(64, 8), normal(64, 8)
    with pytest.raises(TrainingError) as caught:
        readings(step(mild, number=499), step(constant), stop=True, ring=64)
    assert str(caught.value).startswith("collapsed since step 500: all inputs get nearly the same embedding")
    assert str(caught.value).endswith("\nhealth.on_collapse is 'stop'; the last checkpoint is whole")
    assert len(readings(step(mild), step(constant), stop=False, ring=64)) == 2
    assert readings(step(constant, number=1), stop=True)[0].verdict == "watch"  # the first tenth of training


def test_the_reading_that_stops_training_is_written_before():
    found = []
    with pytest.raises(TrainingError):
        HealthMonitor(found.append, every=1, stop=True)(step(torch.ones(64, 8)))
    assert [reading.verdict for reading in found] == ["collapsed"]


def test_the_progress_bar_shows_the_last_reading_in_short():
    monitor = HealthMonitor(lambda reading: None, every=2)
    assert monitor.last == "health: no reading yet"
    notes = [monitor(step(x, number=n)) for n, x in ((499, normal(8, 4)), (500, None), (501, None))]
    rank = effective_rank(normal(8, 4))
    assert notes == ["", f"rank {rank:.0f} healthy", f"rank {rank:.0f} healthy"]
    assert monitor.last.startswith(f"healthy: effective rank {rank:.0f}, ")
    assert HealthMonitor(lambda reading: None, every=1)(step(None)) == "healthy"


def test_without_embeddings_the_loss_is_still_judged():
    reading = read(None)
    assert (reading.verdict, reading.effective_rank, reading.dimension_std, reading.uniformity) == ("healthy",) + (
        None,
    ) * 3
    assert read(None, loss=2.0, chance=(2.0, "ln K")).verdict == "watch"


def test_a_reading_survives_json():
    reading = read(normal(32, 8), chance=(2.0, "ln K"))
    assert json.loads(json.dumps(reading.to_dict(), allow_nan=False)) == reading._asdict()


def test_observing_draws_no_random_number_and_leaves_the_embedding_alone():
    embedding = normal(32, 8).requires_grad_()
    kept, state = embedding.detach().clone(), torch.get_rng_state()
    read(embedding)
    assert torch.equal(state, torch.get_rng_state()) and torch.equal(embedding.detach(), kept)


def test_a_language_model_that_predicts_frequencies_is_recognised():
    references = References(chance=(6.2, "ln V"), plateau=(5.0, "the entropy of tokens: it uses no context yet"))
    cases = [(5.05, 50), (5.05, 500), (4.8, 500), (5.11, 500)]
    found = readings(*(step(normal(64, 16), number=n, loss=loss) for loss, n in cases), references=references)
    assert [reading.verdict for reading in found] == ["healthy", "watch", "healthy", "healthy"]
    assert "loss 5.05 = the entropy of tokens: it uses no context yet. Likely" in found[1].message


def judged(*, fraction=0.5, references=REFERENCES, **numbers):
    """The verdict on a reading made of these numbers and otherwise of healthy ones."""
    numbers = {"dimension_std": 1.0, "effective_rank": 9.0, "uniformity": -2.0, "loss": 300.0} | numbers
    rest = dict.fromkeys(HealthReading._fields) | {"step": 5, "uniform_entropy": references.uniform_entropy}
    if references.chance:
        rest["chance_loss"] = references.chance[0]
    return verdict(HealthReading(**rest | numbers), references, fraction=fraction)


@pytest.mark.parametrize(
    ("numbers", "what"),
    [
        ({"dimension_std": 0.1}, "effective rank 9, dimension std 0.10"),
        ({"dimension_std": 0.0999}, "all inputs get nearly the same embedding (dimension std 0.100; even spread is 1)"),
        ({"effective_rank": 2.0}, "effective rank 2, dimension std 1.00"),
        ({"effective_rank": 1.99}, "all embeddings lie on about one line (effective rank 2.0)"),
        ({"dimension_std": math.nan}, "embeddings hold NaN or infinity"),
        ({"effective_rank": math.nan}, "embeddings hold NaN or infinity"),
        ({"loss": 101.0}, "loss 101.00 = ln N: the outputs are uniform, nothing is learnt yet"),
        ({"loss": 99.0}, "loss 99.00 = ln N: the outputs are uniform, nothing is learnt yet"),
        ({"loss": 101.1}, "effective rank 9, dimension std 1.00"),
        ({"loss": 51.0}, "loss 51.00 = of words"),
        ({"loss": 49.0}, "loss 49.00 = of words"),
        ({"loss": 51.1}, "effective rank 9, dimension std 1.00"),
        ({"teacher_entropy": 198.0, "teacher_loss": 300.0}, "teacher entropy 198.00 = ln K: its targets are uniform"),
        ({"teacher_entropy": 197.9, "teacher_loss": 300.0}, "effective rank 9"),
        ({"teacher_entropy": 1.99, "teacher_loss": 300.0}, "teacher entropy 1.99: its targets are single prototypes"),
        ({"teacher_entropy": 2.0, "teacher_loss": 300.0}, "effective rank 9"),
        ({"teacher_entropy": 20.0, "teacher_loss": 21.9}, "loss 21.90 = teacher entropy: its targets are about the"),
        ({"teacher_entropy": 20.0, "teacher_loss": 22.0}, "effective rank 9"),
    ],
)
def test_each_rule_holds_to_its_boundary(numbers, what):
    assert judged(**numbers).what.startswith(what)


def test_a_loss_below_zero_can_be_at_its_chance_value_too():
    assert judged(loss=-99.0, references=References(chance=(-100.0, "of KoLeo"))).verdict == "watch"


def test_the_monitor_keeps_512_embeddings_unless_told_otherwise():
    one_direction, another = torch.eye(2)[:1], torch.eye(2)[1:]
    rank = readings(step(torch.cat([another, one_direction.repeat(512, 1)])))[0].effective_rank
    assert rank == pytest.approx(1, abs=1e-6)
    rank = readings(step(torch.cat([another, one_direction.repeat(511, 1)])))[0].effective_rank
    assert rank > 1.01


@pytest.mark.parametrize(("rows", "read_them"), [(0, False), (1, False), (2, True)])
def test_statistics_need_two_embeddings(rows, read_them):
    reading = read(normal(rows, 8))
    assert [value is not None for value in reading[1:4]] == [read_them] * 3
