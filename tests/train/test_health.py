import itertools
import json
import math

import pytest
import torch
from torch.nn import functional

from selfstudy.train.health import HealthMonitor, alignment, dimension_std, effective_rank, uniformity


def normal(rows, dim, *, seed=0):
    return torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed))


def read(embedding, *, loss=1.0, metrics=None, chance=None, uniform=None, fraction=0.5):
    monitor = HealthMonitor(every=1, chance=chance, uniform_entropy=uniform)
    return monitor.observe(1, loss, metrics or {}, embedding, fraction=fraction)


def test_the_effective_rank_of_orthogonal_directions_is_their_number():
    orthogonal = torch.linalg.qr(normal(64, 64))[0]
    assert effective_rank(orthogonal) == pytest.approx(64, rel=1e-5)
    assert effective_rank(torch.cat([orthogonal[:8]] * 5)) == pytest.approx(8, rel=1e-3)


def test_the_effective_rank_of_one_line_is_one_and_of_nothing_is_zero():
    assert effective_rank(normal(50, 1) @ normal(1, 512)) == pytest.approx(1, abs=1e-2)
    assert effective_rank(torch.ones(50, 20)) == pytest.approx(1, abs=1e-5)
    assert effective_rank(torch.zeros(50, 20)) == 0.0


def test_the_effective_rank_of_two_unequal_directions_is_their_perplexity():
    x = torch.diag(torch.tensor([3.0, 1.0]))  # shares 3/4 and 1/4
    assert effective_rank(x) == pytest.approx(math.exp(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25))), rel=1e-5)


def test_the_effective_rank_is_that_of_the_singular_values_tall_or_wide():
    for x in (normal(100, 30), normal(30, 100)):
        shares = torch.linalg.svdvals(x.double())
        shares = shares / shares.sum()
        assert effective_rank(x) == pytest.approx(float((-shares * shares.log()).sum().exp()), rel=1e-6)


def test_the_effective_rank_ignores_scale_and_rotation():
    x, rotation = normal(100, 30), torch.linalg.qr(normal(30, 30, seed=1))[0]
    assert effective_rank(100 * x @ rotation) == pytest.approx(effective_rank(x), rel=1e-4)


def test_dimension_std_is_one_when_spread_and_zero_when_constant():
    assert dimension_std(normal(4096, 128)) == pytest.approx(1, abs=0.02)
    assert dimension_std(torch.ones(64, 128)) == pytest.approx(0, abs=1e-5)


def test_dimension_std_of_a_hand_case():
    x = torch.tensor([[5.0, 0.0], [0.0, 2.0]])  # normalised: each dimension is 1 and 0, std 1/2
    assert dimension_std(x) == pytest.approx(0.5 * math.sqrt(2), rel=1e-6)


def test_alignment_of_hand_cases():
    x = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    assert alignment(x, 7 * x) == pytest.approx(0, abs=1e-6)
    assert alignment(x, -x) == pytest.approx(4, rel=1e-6)
    assert alignment(x, x.flip(1)) == pytest.approx(2, rel=1e-6)


def test_uniformity_of_hand_cases():
    assert uniformity(torch.tensor([[1.0, 0.0], [-3.0, 0.0]])) == pytest.approx(-8, rel=1e-5)  # distance 2
    assert uniformity(torch.ones(5, 3)) == pytest.approx(0, abs=1e-5)
    assert uniformity(torch.zeros(5, 3)) == pytest.approx(0, abs=1e-5)
    corners = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])  # squared distances 2, 4, 2
    assert uniformity(corners) == pytest.approx(math.log((2 * math.exp(-4) + math.exp(-8)) / 3), rel=1e-5)


def test_uniformity_is_the_slow_loop_over_pairs():
    x = functional.normalize(normal(20, 5).double(), dim=1)
    pairs = [math.exp(-2 * float((a - b).square().sum())) for a, b in itertools.combinations(x, 2)]
    assert uniformity(normal(20, 5)) == pytest.approx(math.log(sum(pairs) / len(pairs)), rel=1e-5)


def test_statistics_are_float32_under_autocast():
    x = normal(64, 32)
    expected = (effective_rank(x), dimension_std(x), uniformity(x), alignment(x, x.flip(0)))
    with torch.autocast("cpu", torch.bfloat16):
        assert (effective_rank(x), dimension_std(x), uniformity(x), alignment(x, x.flip(0))) == expected


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
        "collapsed since step 1: all inputs get nearly the same embedding (dimension std 0.010; even spread is 1). "
        "Likely cause: the learning rate is too high, the inputs are all alike, or nothing in the loss keeps them "
        "apart. Change: lower optimizer.lr, look at what the method sees (of images in views.png), or take another "
        "method."
    )


def test_an_encoder_whose_units_all_died_is_collapsed():
    reading = read(torch.zeros(512, 64))
    assert (reading.verdict, reading.effective_rank, reading.dimension_std) == ("collapsed", 0.0, 0.0)


def test_embeddings_on_one_line_are_collapsed_though_they_spread():
    reading = read(normal(512, 1) @ normal(1, 64) + 0.001 * normal(512, 64, seed=2))
    assert reading.dimension_std > 0.5
    assert reading.verdict == "collapsed"
    assert "all embeddings lie on about one line (effective rank 1." in reading.message


@pytest.mark.parametrize("embedding", [torch.ones(64, 8), normal(64, 1) @ normal(1, 8)], ids=["alike", "on a line"])
@pytest.mark.parametrize(("fraction", "expected"), [(0.0, "watch"), (0.099, "watch"), (0.1, "collapsed")])
def test_a_collapse_is_only_watched_in_the_first_tenth_of_training(embedding, fraction, expected):
    reading = read(embedding, fraction=fraction)
    assert reading.verdict == expected and reading.message.startswith(f"{expected} since step 1: all ")


@pytest.mark.parametrize("fraction", [0.01, 0.5])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_embeddings_that_are_not_finite_are_collapsed_at_any_time_and_null_in_json(bad, fraction):
    embedding = normal(64, 8)
    embedding[3, 2] = bad
    reading = read(embedding, fraction=fraction)
    assert reading.verdict == "collapsed" and "embeddings hold NaN or infinity" in reading.message
    assert json.loads(reading.to_json())["effective_rank"] is None


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
    assert "watch since step 1: loss 5.54 = ln(2B - 1): the outputs are uniform, nothing is learnt yet." in message


@pytest.mark.parametrize(
    ("entropy", "expected"),
    [
        (6.93, "are uniform"),
        (0.001, "are single prototypes"),
        (4.95, "about the same for every image"),
        (3.0, "healthy"),
    ],
)
@pytest.mark.parametrize("chance", [(6.9315, "ln K"), None])
def test_a_teacher_at_either_end_of_its_entropy_is_watched_with_a_chance_loss_or_without(entropy, expected, chance):
    reading = read(normal(512, 64), loss=5.0, metrics={"teacher_entropy": entropy}, chance=chance, uniform=6.9315)
    assert expected in reading.message
    assert reading.teacher_entropy == entropy and reading.uniform_entropy == 6.9315


@pytest.mark.parametrize(("image_loss", "expected"), [(3.05, "loss 3.05 = teacher entropy"), (4.0, "healthy")])
def test_the_entropy_is_held_against_the_loss_for_the_same_targets_whatever_else_is_in_the_loss(image_loss, expected):
    metrics = {"teacher_entropy": 3.0, "image_loss": image_loss}
    for loss in (7.5, 2.0):  # beside other terms, one of them negative as KoLeo may be
        reading = read(normal(512, 64), loss=loss, metrics=metrics, uniform=6.9315)
        assert expected in reading.message and reading.teacher_loss == image_loss


def test_a_teachers_entropy_is_not_judged_in_the_first_tenth_of_training_nor_without_its_bound():
    metrics = {"teacher_entropy": 6.93}
    assert read(normal(512, 64), loss=9.0, metrics=metrics, uniform=6.9315, fraction=0.05).verdict == "healthy"
    assert read(normal(512, 64), loss=9.0, metrics=metrics).verdict == "healthy"


def test_readings_come_every_so_many_steps_and_at_the_end():
    monitor = HealthMonitor(every=5, chance=None)
    steps = [s for s in range(1, 13) if monitor.observe(s, 1.0, {}, normal(8, 4, seed=s), fraction=s / 12)]
    assert steps == [5, 10, 12]


def test_a_verdict_says_since_when_and_starts_again_after_a_recovery():
    monitor = HealthMonitor(every=10, chance=None, ring=32)
    kinds = {10: normal(32, 8), 20: torch.ones(32, 8), 30: torch.ones(32, 8), 40: normal(32, 8), 50: torch.ones(32, 8)}
    messages = [monitor.observe(step, 1.0, {}, x, fraction=0.5).message for step, x in kinds.items()]
    assert [m.partition(":")[0] for m in messages] == [
        "healthy",
        "collapsed since step 20",
        "collapsed since step 20",
        "healthy",
        "collapsed since step 50",
    ]


def test_a_reading_is_over_exactly_the_last_embeddings_of_the_ring():
    monitor = HealthMonitor(every=10, chance=None, ring=24)
    batches = [normal(10, 6, seed=seed) for seed in range(10)]
    readings = [monitor.observe(i + 1, 1.0, {}, x, fraction=0.5) for i, x in enumerate(batches)]
    assert readings[-1].effective_rank == pytest.approx(effective_rank(torch.cat(batches)[-24:]))


def test_the_ring_holds_no_more_than_it_needs():
    monitor = HealthMonitor(every=1000, chance=None, ring=24)
    for step in range(1, 50):
        monitor.observe(step, 1.0, {}, normal(10, 6), fraction=0.1)
    assert sum(len(batch) for batch in monitor._kept) == 30


def test_embeddings_overwritten_after_the_step_do_not_change_the_reading():
    monitor, buffer = HealthMonitor(every=2, chance=None), normal(64, 8)
    monitor.observe(1, 1.0, {}, buffer, fraction=0.5)
    buffer.zero_()
    assert monitor.observe(2, 1.0, {}, None, fraction=0.5).effective_rank > 6


def test_alignment_is_read_when_a_pair_is_given():
    monitor, x = HealthMonitor(every=1, chance=None), normal(32, 8)
    assert monitor.observe(1, 1.0, {}, x, fraction=0.5).alignment is None
    assert monitor.observe(2, 1.0, {}, x, fraction=0.5, pair=(x, -x)).alignment == pytest.approx(4)


def test_without_embeddings_the_loss_is_still_judged():
    reading = read(None)
    assert (reading.verdict, reading.effective_rank, reading.dimension_std, reading.uniformity) == ("healthy",) + (
        None,
    ) * 3
    assert read(None, loss=2.0, chance=(2.0, "ln K")).verdict == "watch"


def test_a_reading_survives_json():
    reading = read(normal(32, 8), chance=(2.0, "ln K"))
    assert json.loads(reading.to_json()) == reading._asdict()


def test_observing_draws_no_random_number_and_leaves_the_embedding_alone():
    embedding = normal(32, 8).requires_grad_()
    kept, state = embedding.detach().clone(), torch.get_rng_state()
    read(embedding)
    assert torch.equal(state, torch.get_rng_state()) and torch.equal(embedding.detach(), kept)


def test_a_language_model_that_predicts_frequencies_is_told_so():
    monitor = HealthMonitor(every=1, chance=(6.2, "ln V"), plateau=(5.0, "the entropy of single tokens"))
    rows = torch.randn(64, 16, generator=torch.Generator().manual_seed(0))
    readings = [monitor.observe(1, loss, {}, rows, fraction=f) for loss, f in ((5.05, 0.05), (5.05, 0.5), (4.8, 0.5))]
    assert [reading.verdict for reading in readings] == ["healthy", "watch", "healthy"]
    assert "loss 5.05 = the entropy of single tokens: it predicts how frequent tokens are" in readings[1].message
