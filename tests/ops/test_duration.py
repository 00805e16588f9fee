import pytest

from selfstudy.errors import UsageError
from selfstudy.ops.duration import Duration


@pytest.mark.parametrize(
    ("text", "amount", "unit"),
    [
        ("1234567 steps", 1234567, "steps"),
        ("10 epochs", 10, "epochs"),
        ("1 step", 1, "steps"),
        ("2.5 minutes", 2.5, "minutes"),
        ("5%", 5, "%"),
    ],
)
def test_durations_are_a_number_and_a_unit(text, amount, unit):
    assert Duration.parse(text) == (amount, unit)
    assert Duration.parse(str(Duration.parse(text))) == (amount, unit)


@pytest.mark.parametrize("text", ["5", "epochs", "-3 steps", "nan steps", "inf epochs", "5 lightyears", "0 steps", ""])
def test_anything_else_is_not_a_duration(text):
    with pytest.raises(UsageError, match="is not a positive number and a unit"):
        Duration.parse(text)


def test_durations_become_steps_by_hand():
    facts = {"steps_per_epoch": 39, "batch_size": 256}
    assert Duration.parse("2 epochs").steps(**facts) == 78
    assert Duration.parse("2560 samples").steps(**facts) == 10
    assert Duration.parse("10 %").steps(**facts, total=500) == 50
    assert Duration.parse("3 minutes").steps(**facts) is None
