import io
from functools import partial

import pytest
import torch
from rich.console import Console
from torch import nn

from selfstudy.errors import UsageError
from selfstudy.probes import Probe, named
from selfstudy.probes.evaluation import Evaluation, LeftOutError, Question, Subject, Trial, evaluate
from selfstudy.probes.features import DenseFeatures, Features
from selfstudy.probes.finetune import RECIPE, Batch, Task, order_of
from selfstudy.probes.kept import KeptScores
from selfstudy.probes.results import Score
from selfstudy.probes.verdict import Split

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


def test_scores_of_free_subjects_say_so_and_the_others_are_compared_with_them():
    def answers(given):
        name, right = given
        return [Score(name, "one", 100.0 * sum(right) / 4, "p", right=bytes(right))]

    subjects = [
        Subject("a", {tuple: lambda: ("a", (0, 0, 1, 0))}, free=True),
        Subject("b", {tuple: lambda: ("b", (0, 1, 1, 0))}, free=True),
        Subject("c", {tuple: lambda: ("c", (1, 1, 1, 0))}),
    ]
    found = list(evaluate(Evaluation("", subjects), [Probe("one", answers, tuple)], console=QUIET))
    assert [score.free for score in found] == [True, True, False]
    assert found[0].ahead is None and found[2].ahead[0] == 25.0 and found[2].ahead.row == "b"


def test_a_sample_is_named_in_every_protocol_and_on_the_console():
    console = Console(record=True, file=io.StringIO(), width=200)
    evaluation = Evaluation("6 things", [Subject("a", {int: lambda: 1})], sample="stratified sample of 6 of 9 things")
    (score,) = evaluate(evaluation, [ONE], console=console)
    assert score.protocol == "p; stratified sample of 6 of 9 things"
    assert "stratified sample of 6 of 9 things; --full takes all" in console.export_text()


@pytest.mark.parametrize(("each", "line"), [(0.01, "about 20 s to embed 1,000 images x 2 rows, then one"), (1e-4, "")])
def test_the_time_is_estimated_from_a_few_examples_before_it_starts(monkeypatch, each, line):
    now, embedded = [0.0], []

    def embed(count):
        now[0] += count * each if embedded else 100.0  # the first call is slower
        embedded.append(count)

    monkeypatch.setattr("selfstudy.probes.evaluation.time.perf_counter", lambda: now[0])
    console = Console(record=True, file=io.StringIO(), width=200)
    subjects = [Subject(name, {int: lambda: 1}) for name in "ab"]
    evaluate(Evaluation("", subjects, trial=Trial(embed, 1000, "images")), [ONE], console=console)
    assert embedded == [32, 32]
    assert [found.strip() for found in console.export_text().splitlines()[1:-2]] == ([line] if line else [])


def test_known_scores_of_a_subject_are_taken_over():
    known = [Score("a", "one", 50.0, "p"), Score("a", "third", 1.0, "p"), Score("c", "one", 2.0, "p")]
    subjects = [Subject("a", {int: lambda: pytest.fail("known")}), Subject("b", {int: lambda: 2})]
    found = evaluate(Evaluation("", subjects), [ONE], console=QUIET, known=known)
    assert [(score.features, score.accuracy) for score in found] == [("a", 50.0), ("2", 1.0)]


def test_kept_scores_of_a_subject_with_a_key_are_not_measured_again(tmp_path):
    train, test = signals(20, 0), signals(10, 1)
    made, kept = [], KeptScores(tmp_path / "scores")

    def features():
        made.append("features")
        return DenseFeatures("raw", *flat(train), *flat(test))

    def scores(probes, key="signals"):
        console = Console(record=True, file=io.StringIO(), width=200)
        subject = Subject("raw", {Features: features}, free=True, key=key)
        found = evaluate(Evaluation("", [subject]), named(probes), console=console, kept=kept)
        return list(found), console.export_text().splitlines()[1:]

    first, lines = scores(["linear", "low-shot"])
    assert made == ["features"] and lines == ["         raw"]
    both, lines = scores(["knn", "low-shot", "linear"])
    assert made == ["features"] * 2 and [one.probe for one in both[:1]] == ["knn"]
    assert [one for one in both if not one.probe.startswith("knn")] == first[1:] + first[:1]
    assert lines == ["         raw: kept from an earlier evaluation: low-shot, linear", "         raw"]
    assert scores(["knn", "low-shot", "linear"])[0] == both and made == ["features"] * 2
    scores(["knn"], key="others")
    scores(["knn"], key=None)
    scores(["knn"], key=None)
    assert made == ["features"] * 5


def test_the_console_names_a_folder_that_cannot_be_written_and_the_evaluation_goes_on(tmp_path):
    (tmp_path / "file").touch()
    console = Console(record=True, file=io.StringIO(), width=500)
    train = signals(20, 0)
    subject = Subject("raw", {Features: lambda: DenseFeatures("raw", *flat(train), *flat(train))}, key="signals")
    kept = KeptScores(tmp_path / "file" / "scores")
    found = evaluate(Evaluation("", [subject]), named(["knn"]), console=console, kept=kept)
    assert found and "raw: not kept for later evaluations: [Errno 20] Not a dir" in console.export_text()


def test_a_free_row_that_the_data_cannot_have_is_left_out_and_the_console_says_why():
    def none():
        raise LeftOutError("the images are flat\nthe rest")

    console = Console(record=True, file=io.StringIO(), width=200)
    subjects = [Subject("a", {int: none}, free=True), Subject("b", {int: lambda: 2})]
    found = evaluate(Evaluation("", subjects), [ONE], console=console)
    assert [score.features for score in found] == ["2"]
    assert console.export_text().splitlines()[2] == "         a: left out: the images are flat"


def test_the_console_says_what_is_measured():
    console = Console(record=True, file=io.StringIO(), width=200)
    subjects = [Subject("a", {}), Subject("b", {int: lambda: 1})]
    evaluate(Evaluation("6 train, 3 test things", subjects), [ONE], console=console)
    assert console.export_text().splitlines() == ["evaluate 6 train, 3 test things", "         b"]


def test_test_examples_that_also_stand_in_train_are_counted_aloud():
    console = Console(record=True, file=io.StringIO(), width=200)
    evaluate(Evaluation("things", [], Split((900, 900), (600, 600), repeated=12)), [ONE], console=console)
    assert console.export_text().splitlines()[1] == "         12 of 1,200 test examples also stand in train"


def test_a_probe_that_the_data_have_no_input_for_is_refused_before_any_work():
    Question([ONE, TWO], "data").require_inputs((int,), "numbers")
    with pytest.raises(UsageError, match="probe other cannot be asked of numbers\nask for one, two alone"):
        Question([ONE, OTHER, TWO], "data").require_inputs((int,), "numbers")
    with pytest.raises(UsageError, match="probe other cannot be asked of numbers\nask for another probe, or give oth"):
        Question([OTHER], "data").require_inputs((int,), "numbers")


class Signals(nn.Module):
    """An encoder of signals over time (B, 2, T): the mean of a convolution."""

    embed_dim = 6

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(2, 6, 5)

    def forward(self, signals):
        return torch.relu(self.conv(signals)).mean(dim=2)


def signals(n, seed):
    """Waves of two frequencies, (n, 2, 40), and which one each has."""
    draw, labels = torch.Generator().manual_seed(seed), torch.arange(n) % 2
    phase = torch.rand(n, 2, 1, generator=draw) * 6
    return torch.sin(torch.arange(40) * (0.3 + labels[:, None, None]) + phase), labels


def task(name, encoder, train, test):
    order = order_of(len(train[0]), RECIPE._replace(epochs=2, steps=1))

    def batch(step):
        rows = order.batch(step)[1]
        return Batch(train[0][rows], train[1][rows])

    recipe, apply = RECIPE._replace(epochs=2, steps=1), lambda network, inputs: network(inputs)
    return Task(name, encoder, recipe, order, batch, [Batch(*test)], len(test[0]), 2, apply, "whole signals")


def subject(name, encoder, train, test):
    def features():
        with torch.no_grad():
            return DenseFeatures(name, encoder(train[0]), train[1], encoder(test[0]), test[1])

    return Subject(name, {Features: features, Task: partial(task, name, encoder, train, test)})


def test_a_third_kind_of_data_is_evaluated_under_all_probes_by_saying_how_its_features_are_made():
    torch.manual_seed(0)
    train, test = signals(80, 0), signals(40, 1)
    raw = Subject("raw signals", {Features: lambda: DenseFeatures("raw signals", *flat(train), *flat(test))})
    subjects = [raw, subject("untrained encoder", Signals(), train, test)]
    probes = named(["knn", "linear", "low-shot", "retrieval", "finetune"])
    found = evaluate(Evaluation("80 train, 40 test signals", subjects), probes, console=QUIET)
    columns = [[score.probe for score in found if score.features == one.name] for one in subjects]
    assert columns[1] == [*columns[0], "finetune"] and columns[0][:3] == ["knn", "knn-whitened", "linear"]
    assert found.accuracy("raw signals", "knn") > 70 and "80 train / 40 test" in str(found)


def flat(part):
    return part[0].flatten(1), part[1]
