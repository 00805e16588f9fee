"""Amounts of training, as users write them. Does not import torch."""

import math
from typing import NamedTuple

from selfstudy.errors import UsageError

_UNITS = {"step": "steps", "epoch": "epochs", "minute": "minutes", "sample": "samples", "%": "%"}


class Duration(NamedTuple):
    """An amount of training: ``"10 epochs"``, ``"500 steps"``, ``"5 minutes"``, ``"100000 samples"``, ``"5 %"``."""

    amount: float
    unit: str

    @classmethod
    def parse(cls, text: str) -> "Duration":
        """The duration that a text of number and unit stands for.

        Raises:
            UsageError: not a positive number followed by a known unit.

        >>> Duration.parse("10 epochs")
        Duration(amount=10.0, unit='epochs')
        """
        number, _, unit = text.strip().replace("%", " %").partition(" ")
        unit = _UNITS.get(unit.strip().removesuffix("s") or "", "")
        try:
            amount = float(number)
        except ValueError:
            amount = math.nan
        if not unit or not amount > 0 or math.isinf(amount):
            raise UsageError(
                f"duration {text!r} is not a positive number and a unit\n"
                "write '10 epochs', '500 steps', '5 minutes' or '100000 samples'"
            )
        return cls(amount, unit)

    def __str__(self) -> str:
        """The text that :meth:`parse` reads."""
        return f"{int(self.amount) if self.amount.is_integer() else self.amount} {self.unit}"

    def steps(self, *, steps_per_epoch: int, batch_size: int, total: int | None = None) -> int | None:
        """The number of optimizer steps, at least 1; None for minutes.

        ``total`` is the length of the run in steps, for a duration in percent.
        """
        each = {"steps": 1.0, "epochs": steps_per_epoch, "samples": 1 / batch_size, "%": (total or 0) / 100}
        return max(1, round(self.amount * each[self.unit])) if self.unit in each else None
