import itertools
import math
from pathlib import Path

import pytest
import yaml

from selfstudy.probes.results import Ahead, Score
from selfstudy.probes.verdict import Facts, Reading, Split, Verdict, judge

CASES = yaml.safe_load((Path(__file__).parent / "verdict_cases.yaml").read_text(encoding="utf-8"))


def facts_of(case):
    """The facts of a committed case: its scores are lists of row, probe, value, interval and, if trained, ``ahead``."""
    given = dict(case["facts"])
    scores = [
        Score(
            row, probe, value, "p", interval=tuple(interval), free=not ahead, ahead=Ahead(*ahead[0]) if ahead else None
        )
        for row, probe, value, interval, *ahead in given.pop("scores")
    ]
    split = Split(**given.pop("split"))
    readings = [Reading(*pair) for pair in given.pop("readings", ())]
    return Facts(scores, split, readings=readings, **given)


def facts(knn, linear, **more):
    """Facts where patches score 80 under both probes, and the encoder leads by a value with half of its interval."""
    scores = [
        Score("patches", probe, 80.0, "p", interval=(78.0, 82.0), free=True) for probe in ("knn-whitened", "linear")
    ]
    for probe, (lead, half) in (("knn-whitened", knn), ("linear", linear)):
        ahead = Ahead(lead, lead - half, lead + half, "patches")
        ends = (78.0 + lead, 82.0 + lead)
        scores.append(Score("pretrained encoder", probe, 80.0 + lead, "p", interval=ends, ahead=ahead))
    return Facts(scores, more.pop("split", Split((50, 50), (100, 100))), **more)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_the_sentence_is_the_one_that_was_committed_before_the_rules(case):
    assert judge(facts_of(case)) == Verdict(case["kind"], case["sentence"])


def test_twelve_runs_have_an_expected_sentence_of_at_most_two_short_parts():
    assert len({case["name"] for case in CASES}) == 12
    assert all(case["sentence"].count(". ") <= 1 and len(case["sentence"]) <= 180 for case in CASES)


LEADS = [(-6.0, 1.0), (-0.5, 2.0), (0.0, 0.4), (0.3, 0.2), (2.0, 5.1), (4.1, 1.0)]
WORLDS = [
    {"health": health, "steps": steps, "split": Split((50, 50), (100, 100), shift=shift), "solved": solved}
    for health, steps, shift, solved in itertools.product(
        ("", "healthy", "watch", "collapsed"), (None, 3, 5_000), (None, 2.0), (False, True)
    )
]


@pytest.mark.parametrize("more", WORLDS, ids=str)
def test_every_sentence_is_whole_short_and_tells_no_one_to_use_a_loser(more):
    for knn, linear in itertools.product(LEADS, LEADS):
        kind, sentence = found = judge(facts(knn, linear, **dict(more)))
        assert not any(word in sentence for word in ("nan", "inf ", "None", "-0.0")) and sentence.endswith(".")
        assert sentence.count(". ") <= 1 and found.short in sentence
        assert not any(word in sentence.lower() for word in ("healthy", "good"))
        won = [lead - half > 0 for lead, half in (knn, linear)]
        assert (kind == "use") == all(won) and (kind == "mixed") == (any(won) and not all(won))


@pytest.mark.parametrize("knn", LEADS, ids=str)
@pytest.mark.parametrize("linear", LEADS, ids=str)
def test_the_health_of_training_never_changes_what_an_encoder_is_worth(knn, linear):
    assert len({judge(facts(knn, linear, health=health)).kind for health in ("", "healthy", "watch", "collapsed")}) == 1


def test_without_a_free_row_or_a_trained_one_there_is_no_verdict():
    whole = facts((4.0, 1.0), (4.0, 1.0)).scores
    assert judge(Facts([score for score in whole if score.free])) is None
    assert judge(Facts([score for score in whole if not score.free])) is None
    assert judge(Facts([])) is None


def test_a_probe_other_than_the_two_decides_only_alone():
    few = [Score("raw pixels", "low-shot-5", 90.0, "p", free=True)]
    few += [Score("pretrained encoder", "low-shot-5", 50.0, "p", ahead=Ahead(-40.0, -42.0, -38.0, "raw pixels"))]
    assert judge(Facts([*facts((4.0, 1.0), (4.0, 1.0)).scores, *few])).kind == "use"
    assert judge(Facts(few)) == ("free", "Not better than raw pixels: use raw pixels (50.0 against 90.0, 5 labels).")


def test_a_lead_without_an_interval_is_no_reason_to_use_an_encoder():
    scores = [
        Score("TF-IDF bag of words", "sts", 50.0, "p", unit="", free=True),
        Score("own", "sts", 62.0, "p", unit=""),
    ]
    expected = "Not known to differ from what is free: no interval (+12.0 points against TF-IDF, STS)."
    assert judge(Facts(scores)) == ("unclear", expected)


def test_a_difference_that_is_surely_below_a_point_is_no_reason_to_train():
    assert judge(facts((0.1, 0.5), (0.2, 0.5))).kind == "free"
    assert judge(facts((0.1, 2.5), (0.2, 2.5))).kind == "unclear"


def test_a_few_labels_of_one_class_among_many_do_not_make_it_unclear():
    assert judge(facts((4.0, 1.0), (4.0, 1.0), split=Split((2, 400), (9, 9)))).kind == "use"
    assert judge(facts((4.0, 1.0), (4.0, 1.0), split=Split((4, 4), (9, 9)))).kind == "unclear"


def readings(start, slope, minutes=20, noise=0.0):
    """Twelve readings whose value rises by ``slope`` points each time the minutes double."""
    times = [60 * minutes * number / 12 for number in range(1, 13)]
    return [
        Reading(time, start + slope * math.log2(time / times[-1]) + noise * (-1) ** number)
        for number, time in enumerate(times)
    ]


@pytest.mark.parametrize(
    ("slope", "noise", "expected"),
    [
        (4.0, 0.0, "Or train about 9 minutes more, by the slope of its readings."),  # 20 minutes times 2 ** (2 / 4)
        (2.0, 0.0, "Or train about 20 minutes more, by the slope of its readings."),
        (0.5, 0.0, "At its measured slope, 4 times the minutes would not be enough."),
        (0.2, 1.0, "Its readings no longer rise, so more minutes would not help."),
        (-1.0, 0.0, "Its readings no longer rise, so more minutes would not help."),
    ],
)
def test_minutes_are_named_only_where_a_slope_was_measured(slope, noise, expected):
    lost = facts((-2.0, 1.0), (-2.0, 1.0), steps=5_000, readings=readings(70.0, slope, noise=noise), bar=72.0)
    assert judge(lost).sentence.endswith(expected)
    for unmeasured in (lost._replace(readings=lost.readings[:3]), lost._replace(bar=None)):
        assert "minutes" not in judge(unmeasured).sentence
