"""One evaluation for every kind of data: baselines and encoders down, probes across.

A modality opens labelled data as an :class:`Evaluation`: a few words about the data, and the subjects to measure. Each
subject makes the inputs that probes need, and only those that are asked for.
"""

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from rich.console import Console

from selfstudy.errors import DataError, UsageError, first_line
from selfstudy.probes import Probe
from selfstudy.probes.intervals import compared
from selfstudy.probes.kept import KeptScores
from selfstudy.probes.progress import PATIENCE, Ticker
from selfstudy.probes.results import Results, Score
from selfstudy.probes.verdict import Split

_TRIED = 32  # examples that are embedded for the estimate of the time


class LeftOutError(DataError):
    """A free row that these data cannot have; an evaluation goes on without it."""


class Question(NamedTuple):
    """A user's request: probes, and the labelled data to ask them on.

    Attributes:
        probes: the probes.
        data: a path, a name or arrays, as the user gave them.
        test: labelled data to test on; None for ``data``'s own test split, or a fifth of it.
        columns: columns of a table by their role, ``label_column`` or ``text_column``; only those the user named.
        full: True for all examples, however many they are; otherwise a modality takes a sample of large data
            (:func:`selfstudy.probes.split.sample`).
    """

    probes: Sequence[Probe]
    data: Any
    test: Any = None
    columns: Mapping[str, str] = {}
    full: bool = False

    def require_inputs(self, offered: Collection[type], data: str) -> None:
        """Raise for a probe that these data have no input for, before anything is embedded.

        Args:
            offered: the types of input that can be made.
            data: a few words on the data, such as ``"labelled images"``.

        Raises:
            UsageError: naming the probe.
        """
        for probe in self.probes:
            if probe.needs not in offered:
                can = [other.name for other in self.probes if other.needs in offered]
                raise UsageError(
                    f"probe {probe.name} cannot be asked of {data}\n"
                    + (f"ask for {', '.join(can)} alone" if can else "ask for another probe, or give other data")
                )


class Subject(NamedTuple):
    """One row of the table: a baseline, or an encoder.

    Attributes:
        name: such as ``"raw pixels"``, ``"untrained encoder"`` or ``"pretrained encoder"``.
        inputs: functions that make the inputs of probes, by type. A probe whose type is missing leaves a gap.
        free: True for features that need no training; the trained encoder has to beat them.
        key: a text that differs if anything differs that decides the scores of the row: its data, its split, and how
            its features are made; None for a row whose scores are not kept for later evaluations.
    """

    name: str
    inputs: Mapping[type, Callable[[], object]]
    free: bool = False
    key: str | None = None


class Evaluation(NamedTuple):
    """Labelled data that were opened, and what is measured on them.

    Attributes:
        about: a few words on the data and their split, such as ``"24 train, 6 test images"``.
        subjects: the rows; inputs are made one after another, so that the features of one are in memory at a time.
        split: the facts about the data on which a verdict rests.
        sample: a description of the part of the data that is used, for every protocol; empty if it is all.
        trial: a measurement of embedding, for an estimate before it starts; None for no estimate.
    """

    about: str
    subjects: Iterable[Subject]
    split: Split = Split()
    sample: str = ""
    trial: "Trial | None" = None


class Trial(NamedTuple):
    """A quick measurement of embedding, from which the time of all of it is estimated.

    Attributes:
        embed: embeds the given number of examples with the encoder; at most as many as a batch holds.
        examples: the number of train and test examples.
        unit: the word for them, such as ``"images"``.
    """

    embed: Callable[[int], object]
    examples: int
    unit: str

    def seconds(self) -> float:
        """The seconds that one row takes to embed."""
        tried = min(_TRIED, self.examples)
        self.embed(tried)  # the first call of a network prepares memory and kernels
        began = time.perf_counter()
        self.embed(tried)
        return (time.perf_counter() - began) / tried * self.examples


def evaluate(
    evaluation: Evaluation,
    probes: Sequence[Probe],
    *,
    console: Console,
    known: Sequence[Score] = (),
    kept: KeptScores | None = None,
) -> Results:
    """The scores of every subject under every probe; test is used once, by the final encoder.

    Args:
        evaluation: the opened data.
        probes: the probes, in the order they are asked.
        console: the console that shows progress.
        known: scores of other evaluations; a subject with a score of one of these probes is not measured again.
        kept: scores that are found by the key of a subject and not measured again; new ones are added.

    Raises:
        DataError: labels or features on which a score would mean nothing.
        TrainingError: fine-tuning diverged.
    """
    console.print(f"evaluate {evaluation.about}", highlight=False)
    if evaluation.sample:
        console.print(f"         {evaluation.sample}; --full takes all", highlight=False)
    if copies := evaluation.split.repeated:
        total = sum(evaluation.split.test)
        console.print(f"         {copies:,} of {total:,} test examples also stand in train", highlight=False)
    names = [probe.name for probe in probes]
    subjects = list(evaluation.subjects)
    _print_estimate(evaluation.trial, len(subjects), names, console)
    scores: list[Score] = []
    with Ticker(console, len(subjects) * len(probes)) as ticker:
        for subject in subjects:
            found = [score for score in known if score.features == subject.name and score.probe in names]
            if not found:
                able = [probe for probe in probes if probe.needs in subject.inputs]
                try:
                    measured = _scores(subject, able, kept, console, ticker)
                except LeftOutError as error:
                    console.print(f"         {subject.name}: left out: {first_line(error)}", highlight=False)
                    measured = []
                found = [_of_sample(score, evaluation.sample) for score in measured]
            ticker.end(len(probes))
            scores += [score._replace(free=score.free or subject.free) for score in found]
    once = {score[:2]: score for score in scores}  # the majority class comes with every subject
    return Results(compared(list(once.values())))


def _of_sample(score: Score, sample: str) -> Score:
    """The score with the sample in its protocol, if the data were cut to one."""
    return score._replace(protocol=f"{score.protocol}; {sample}") if sample else score


def _print_estimate(trial: Trial | None, rows: int, probes: Sequence[str], console: Console) -> None:
    """Print how long all rows take to embed, if that is worth a line."""
    if trial is None or console.quiet:
        return
    seconds = trial.seconds() * rows
    if seconds > PATIENCE:
        work = f"{trial.examples:,} {trial.unit} x {rows} rows"
        console.print(f"         about {seconds:,.0f} s to embed {work}, then {', '.join(probes)}", highlight=False)


def _scores(
    subject: Subject, probes: Sequence[Probe], kept: KeptScores | None, console: Console, ticker: Ticker
) -> list[Score]:
    """The scores of one subject: those that are kept, and those that are measured now."""
    if kept is None or subject.key is None:
        return [score for found in _measured(subject, probes, console, ticker).values() for score in found]
    found = kept.find(subject.key, probes)
    if found:
        console.print(f"         {subject.name}: kept from an earlier evaluation: {', '.join(found)}", highlight=False)
    measured = _measured(subject, [probe for probe in probes if probe.name not in found], console, ticker)
    try:
        for probe in probes:
            if probe.name in measured:
                kept.keep(subject.key, probe, measured[probe.name])
    except OSError as error:
        console.print(f"         {subject.name}: not kept for later evaluations: {error}", highlight=False)
    return [score for probe in probes for score in (found | measured)[probe.name]]


def _measured(subject: Subject, probes: Sequence[Probe], console: Console, ticker: Ticker) -> dict[str, list[Score]]:
    """The scores of one subject by probe; an input is made once for all the probes that need it."""
    if probes:
        console.print(f"         {subject.name}", highlight=False)
    inputs: dict[type, object] = {}
    scores: dict[str, list[Score]] = {}
    for probe in probes:
        if probe.needs not in inputs:
            ticker.begin(f"{subject.name}: inputs of {probe.name}")
            inputs[probe.needs] = subject.inputs[probe.needs]()
        ticker.begin(f"{subject.name}: {probe.name}")
        scores[probe.name] = probe.measure(inputs[probe.needs])
    return scores
