import io

import pytest
from rich.console import Console

from selfstudy.errors import UsageError
from selfstudy.probes import Probe
from selfstudy.probes.evaluation import Evaluation, Question, Subject, evaluate
from selfstudy.probes.results import Score

QUIET = Console(quiet=True)


def probe(name, needs):
    return Probe(name, lambda given: [Score(str(given), name, 1.0, "p")], needs)


ONE, TWO, OTHER = probe("one", int), probe("two", int), probe("other", str)


def test_every_subject_is_asked_in_order_and_a_probe_that_it_has_nothing_for_leaves_a_gap():
    subjects = [Subject("a", {int: lambda: 1}), Subject("b", {int: lambda: 2, str: lambda: "2"})]
    found = evaluate(Evaluation("3 things", subjects), [OTHER, ONE], console=QUIET)
    assert [score[:2] for score in found] == [("1", "one"), ("2", "other"), ("2", "one")]


def test_an_input_is_made_once_for_all_probes_and_only_when_one_needs_it():
    made = []
    inputs = {int: lambda: made.append("int"), str: lambda: pytest.fail("not asked for")}
    evaluate(Evaluation("", [Subject("a", inputs)]), [ONE, TWO], console=QUIET)
    assert made == ["int"]


def test_known_scores_of_a_subject_are_taken_over():
    known = [Score("a", "one", 50.0, "p"), Score("a", "third", 1.0, "p"), Score("c", "one", 2.0, "p")]
    subjects = [Subject("a", {int: lambda: pytest.fail("known")}), Subject("b", {int: lambda: 2})]
    found = evaluate(Evaluation("", subjects), [ONE], console=QUIET, known=known)
    assert [(score.features, score.accuracy) for score in found] == [("a", 50.0), ("2", 1.0)]


def test_the_console_says_what_is_measured():
    console = Console(record=True, file=io.StringIO(), width=200)
    subjects = [Subject("a", {}), Subject("b", {int: lambda: 1})]
    evaluate(Evaluation("6 train, 3 test things", subjects), [ONE], console=console)
    assert console.export_text().splitlines() == ["evaluate 6 train, 3 test things", "         b"]


def test_a_probe_that_the_data_have_no_input_for_is_refused_before_any_work():
    Question([ONE, TWO], "data").require_inputs((int,), "numbers")
    with pytest.raises(UsageError, match="probe other cannot be asked of numbers\nask for one, two alone"):
        Question([ONE, OTHER, TWO], "data").require_inputs((int,), "numbers")
    with pytest.raises(UsageError, match="probe other cannot be asked of numbers\nask for another probe, or give oth"):
        Question([OTHER], "data").require_inputs((int,), "numbers")
