"""One sentence about an evaluation: use the encoder, or use what is free instead, and what would change that.

Two probes decide: k-NN, on whitened features where it was asked of them, and linear. If neither was asked, the probes
that were asked decide. The encoder is compared with the best free row under the same probe, by their paired difference
and its 95 % interval. The first rule that applies gives the sentence:

=========  ===========================================================================================================
kind       rule
=========  ===========================================================================================================
untrusted  training saw the labels of the test examples, or more than 1 % of them also stand in train
unclear    train holds fewer than 5 examples of a class on average: which ones were labelled decides the numbers
none       neither the encoder nor a free row is above always answering the largest class
use        the encoder is ahead under every deciding probe: the interval is above 0
mixed      it is ahead under one of them only
free       under one of them, it is ahead by less than 1 point even at the upper end of the interval
unclear    none of these: the intervals are too wide
=========  ===========================================================================================================

Training health never decides. It only explains a loss, like the other facts about training: collapse, data that look
different from those of training, readings during training, and few steps.
"""

import math
import statistics
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from selfstudy.probes.results import Score, title

Statistics = tuple[Sequence[float], Sequence[float]]  # the mean and the standard deviation of each channel
Kind = Literal["use", "free", "mixed", "none", "unclear", "untrusted"]

_DECIDING = (("knn-whitened", "knn"), ("linear",))  # of each group, the first that was asked
_MOST_REPEATED = 0.01  # share of test; a lead of a point could come from it
_FEWEST_LABELS = 5  # train examples of a class; with fewer, the draw of labels moves a score by several points
_WORTHLESS = 1.0  # points; a lead below it is not worth training
_SHIFT = 1.25  # EuroSAT and three of its classes differ by 1.1, EuroSAT and CIFAR-10 by 1.3, EuroSAT and Fashion by 1.5
_FEW_STEPS = 1_000
_FARTHEST = 4.0  # times the minutes that were measured; beyond, a slope says little
_READINGS = 4  # the fewest to fit a line to, without the one before the first step

_PROBES = {"knn-whitened": "whitened k-NN"}
_USES = {"knn-whitened": "for whitened nearest neighbours", "knn": "for nearest neighbours"}
_USES |= {"linear": "with a linear classifier"}
_ROWS = {  # the first word of a free row: its name in a sentence, and what a user does with it
    "patches": ("patches", "use --method patches"),
    "raw": ("raw pixels", "use raw pixels"),
    "TF-IDF": ("TF-IDF", "use TF-IDF"),
    "LSA": ("LSA", "use LSA"),
    "untrained": ("the untrained encoder", "use it without training"),
    "timm's": ("timm's weights", "use them as they are"),
    "majority": ("always answering the largest class", "label more examples of the others"),
}


class Reading(NamedTuple):
    """A score that was read during training, on examples held out of the labelled train part.

    Attributes:
        seconds: the time since training began, positive.
        value: the score, in percent.
    """

    seconds: float
    value: float


class Split(NamedTuple):
    """The labelled examples of an evaluation.

    Attributes:
        train: the number of train examples of each class; empty for data without classes.
        test: the number of test examples of each class.
        repeated: the number of test examples that also stand in train.
        fingerprint: the digest of the data that hold the test examples, as a run writes it into ``environment.json``;
            empty if it is not known.
        shift: the distance between the data of training and these, as :func:`shift_between` returns it; None if it is
            not known.
    """

    train: tuple[int, ...] = ()
    test: tuple[int, ...] = ()
    repeated: int = 0
    fingerprint: str = ""
    shift: float | None = None


class Facts(NamedTuple):
    """All that a verdict rests on.

    Attributes:
        scores: the scores of the evaluation; those of the trained encoder are the ones that are not free.
        split: the labelled examples.
        seen: True if training saw the labels of the test examples.
        health: the verdict of the last reading of training health, such as ``"collapsed"``; empty if there is none.
        steps: the number of optimizer steps; None if it is not known.
        solved: True for a method that is solved and not trained by steps, which is free itself.
        readings: the scores during training, in order.
        bar: the best free row under the protocol of the readings; None if it was not read.
    """

    scores: Sequence[Score]
    split: Split = Split()
    seen: bool = False
    health: str = ""
    steps: int | None = None
    solved: bool = False
    readings: Sequence[Reading] = ()
    bar: float | None = None


class Verdict(NamedTuple):
    """The meaning of an evaluation for the user.

    Attributes:
        kind: ``"use"`` the encoder; use what is ``"free"`` instead; ``"mixed"``; ``"none"`` is of use; it is
            ``"unclear"``; the numbers are ``"untrusted"``.
        sentence: one or two short sentences.
    """

    kind: Kind
    sentence: str

    def line(self, data: str | None, test: str | None, *, step: int | None) -> dict[str, object]:
        """The verdict as the object of one line of ``evaluations.jsonl``, which has no value and is thus no score."""
        return {"verdict": self.kind, "sentence": self.sentence, "data": data, "test": test, "step": step}

    @property
    def short(self) -> str:
        """The first sentence."""
        return self.sentence.split(". ")[0].rstrip(".") + "."


class _Lead(NamedTuple):
    """The encoder and the best free row under one deciding probe.

    Attributes:
        own: the score of the encoder.
        free: the best score of a free row.
        value: the difference of the two, in points.
        low: the lower end of its 95 % interval; minus infinity if it is not known.
        high: the upper end; infinity if it is not known.
    """

    own: Score
    free: Score
    value: float
    low: float
    high: float

    @property
    def probe(self) -> str:
        """The probe in words."""
        return _PROBES.get(self.own.probe, title(self.own.probe))

    @property
    def row(self) -> str:
        """The free row in words."""
        return _ROWS.get(self.free.features.split(" ")[0], (self.free.features, ""))[0]

    @property
    def instead(self) -> str:
        """The words for a user who takes the free row."""
        return _ROWS.get(self.free.features.split(" ")[0], ("", "use that"))[1]

    @property
    def points(self) -> str:
        """The difference in points, with half its interval."""
        return f"{self.value:.1f} ± {(self.high - self.low) / 2:.1f}"


def shift_between(one: Statistics, other: Statistics) -> float | None:
    """The largest distance between the values of a channel in two data sets; None for different channels.

    It is the Wasserstein distance of two normal distributions, in standard deviations of the narrower one.

    Args:
        one: the means and the standard deviations of the channels, positive.
        other: those of the other data.

    >>> shift_between(([0.5], [0.2]), ([0.8], [0.1]))
    3.16
    """
    if len(one[0]) != len(other[0]):
        return None
    channels = zip(*one, *other, strict=True)
    return max(round(math.hypot(mean - m, std - s) / min(std, s), 2) for mean, std, m, s in channels)


def judge(facts: Facts) -> Verdict | None:
    """The verdict of the first rule of the table above that applies; None without a trained encoder and a free row."""
    leads = list(_leads(facts.scores))
    if not leads:
        return None
    return (
        _untrusted(facts)
        or _few_labels(facts)
        or _useless(facts, leads)
        or _ahead(facts, leads)
        or _mixed(leads)
        or _behind(facts, leads)
        or _too_few(leads)
    )


def _leads(scores: Sequence[Score]) -> Iterator[_Lead]:
    """The encoder against the best free row, under each deciding probe."""
    own = {score.probe: score for score in scores if not score.free}
    free: dict[str, list[Score]] = {}
    for score in scores:
        if score.free and score.probe in own:
            free.setdefault(score.probe, []).append(score)
    chosen = [next((probe for probe in group if probe in free), "") for group in _DECIDING]
    for probe in [probe for probe in chosen if probe] or free:
        best = max(free[probe], key=lambda score: score.value)
        ahead = own[probe].ahead
        if ahead is None:
            yield _Lead(own[probe], best, own[probe].value - best.value, -math.inf, math.inf)
        else:
            row = next((score for score in free[probe] if score.features == ahead.row), best)
            yield _Lead(own[probe], row, ahead.value, ahead.low, ahead.high)


def _untrusted(facts: Facts) -> Verdict | None:
    """Test examples that the encoder or the probe has seen."""
    if facts.seen:
        cause, change = "training saw the labels of the test examples", "Evaluate on other examples"
    elif facts.split.repeated > _MOST_REPEATED * sum(facts.split.test):
        cause = f"{facts.split.repeated:,} of {sum(facts.split.test):,} test examples also stand in train"
        change = "Take them out and evaluate again"
    else:
        return None
    return Verdict("untrusted", f"Do not trust these numbers: {cause}. {change}.")


def _few_labels(facts: Facts) -> Verdict | None:
    """Fewer labels than a probe can learn from."""
    if not facts.split.train or sum(facts.split.train) >= _FEWEST_LABELS * len(facts.split.train):
        return None
    have = f"{sum(facts.split.train):,} train examples of {len(facts.split.train):,} classes"
    return Verdict("unclear", f"Too few labels to tell: {have}. Label at least {_FEWEST_LABELS} of each class.")


def _useless(facts: Facts, leads: Sequence[_Lead]) -> Verdict | None:
    """No row that is above the share of the largest class."""
    share = _largest(facts)
    if share is None or any(_low(score) > share for lead in leads for score in (lead.own, lead.free)):
        return None
    best = max(leads, key=lambda lead: lead.own.value)
    why = f"{share:.1f} %; this encoder {best.own.value:.1f}, {best.probe}"
    change = "Label more examples of the other classes"
    return Verdict("none", f"Nothing here beats always answering the largest class ({why}). {change}.")


def _largest(facts: Facts) -> float | None:
    """The share of test examples in the largest class, in percent; None without classes."""
    return 100 * max(facts.split.test) / sum(facts.split.test) if facts.split.test else None


def _low(score: Score) -> float:
    """The lower end of a score's interval, or the score if the interval is not known."""
    return score.interval[0] if score.interval else score.value


def _ahead(facts: Facts, leads: Sequence[_Lead]) -> Verdict | None:
    """Ahead under every deciding probe; the smaller lead is told."""
    if any(lead.low <= 0 for lead in leads):
        return None
    least = min(leads, key=lambda lead: lead.value)
    what, other = (
        ("these features", "everything else that is free") if facts.solved else ("this encoder", "everything free")
    )
    return Verdict("use", f"Use {what}: {least.points} points better than {other} ({least.row}, {least.probe}).")


def _mixed(leads: Sequence[_Lead]) -> Verdict | None:
    """Ahead under one deciding probe, and not under another."""
    won, other = [lead for lead in leads if lead.low > 0], [lead for lead in leads if lead.low <= 0]
    if not won or not other:
        return None
    best, least = max(won, key=lambda lead: lead.value), min(other, key=lambda lead: lead.value)
    against = "" if least.row == best.row else f" against {least.row}"
    first = f"{best.points} points better than {best.row} by {best.probe}, {least.points}{against} by {least.probe}"
    use = _USES.get(best.own.probe, f"for what {best.probe} measures")
    return Verdict("mixed", f"Mixed: {first}. Use it only {use}.")


def _behind(facts: Facts, leads: Sequence[_Lead]) -> Verdict | None:
    """Ahead by so little at best, under a deciding probe, that training does not pay."""
    lost = [lead for lead in leads if lead.high < _WORTHLESS]
    if not lost:
        return None
    worst = min(lost, key=lambda lead: lead.value)
    numbers = f"{worst.own.value:.1f} against {worst.free.value:.1f}"
    if facts.health == "collapsed":
        loss = f"training collapsed ({numbers} for {worst.row}, {worst.probe})"
        return Verdict("free", f"Do not use this encoder: {loss}. Lower optimizer.lr, or take another method.")
    first = f"Not better than {worst.row}: {worst.instead} ({numbers}, {worst.probe})."
    return Verdict("free", " ".join([first, *_change(facts, leads)]))


def _too_few(leads: Sequence[_Lead]) -> Verdict:
    """The probe whose interval is widest, or has none."""
    widest = max(leads, key=lambda lead: lead.high - lead.low)
    if math.isinf(widest.high):
        known = f"{widest.value:+.1f} points against {widest.row}, {widest.probe}"
        return Verdict("unclear", f"Not known to differ from what is free: no interval ({known}).")
    difference = f"the difference to {widest.row} is {widest.points} points ({widest.probe})"
    return Verdict("unclear", f"Too few test examples to tell: {difference}.")


def _change(facts: Facts, leads: Sequence[_Lead]) -> Iterator[str]:
    """The sentence on the cause of a loss, or on what would make training win, where the facts hold one."""
    share = _largest(facts)
    if share is not None and any(_low(lead.own) <= share for lead in leads):
        yield f"Always answering the largest class gives {share:.1f}."
    elif facts.solved:
        return
    elif facts.split.shift is not None and facts.split.shift > _SHIFT:
        yield "Training saw data that look different: train on data like these."
    elif len(facts.readings) > _READINGS and facts.bar is not None:
        yield _forecast(facts.readings, facts.bar)
    elif facts.health == "watch":
        yield "Training had learnt little when it ended; the report says why."
    elif facts.steps is not None and facts.steps < _FEW_STEPS:
        yield f"It took {facts.steps:,} steps only; --eval in a longer run shows whether more would help."


def _forecast(readings: Sequence[Reading], bar: float) -> str:
    """The minutes until training passes ``bar``, by a line through the later half of the readings over log time."""
    late = [reading for reading in readings if reading.seconds > 0][-max(_READINGS, len(readings) // 2) :]
    times = [math.log(reading.seconds) for reading in late]
    slope, start = statistics.linear_regression(times, [reading.value for reading in late])
    errors = [reading.value - start - slope * time for reading, time in zip(late, times, strict=True)]
    spread = math.sqrt(sum(error**2 for error in errors) / (len(late) - 2) / (len(late) * statistics.pvariance(times)))
    if slope < 2 * spread or slope <= 0:
        return "Its readings no longer rise, so more minutes would not help."
    times_longer = math.exp(min((bar - start) / slope - times[-1], math.log(_FARTHEST) + 1))
    if times_longer > _FARTHEST:
        return f"At its measured slope, {_FARTHEST:.0f} times the minutes would not be enough."
    minutes = max(1, math.ceil((times_longer - 1) * readings[-1].seconds / 60))
    return f"Or train about {minutes:,} minutes more, by the slope of its readings."
