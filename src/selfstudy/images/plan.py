"""The plan of a run on images for a budget in minutes: the method, the encoder, the image size and the batch size.

A plan is made from measurements of this machine (:mod:`selfstudy.runs.trial`). Of the candidates that fit what the user
fixed, it takes the one with the most pixels, then the larger network, of whose steps the budget holds at least
``ENOUGH_STEPS``, with the largest batch that still leaves this number. Its memory stays within the room that is given.
Nothing here reads a clock: the same measurements give the same plan.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from selfstudy.errors import EnvironmentFault, UsageError
from selfstudy.images.config import ImageRunConfig
from selfstudy.methods.reads import Images
from selfstudy.ops.duration import Duration
from selfstudy.runs.draft import Draft, largest_batch
from selfstudy.runs.trial import StepCost

ENOUGH_STEPS = 300
"""Optimizer steps from which a short run learns something; fewer leave most encoders near their random weights."""
FEWEST_STEPS = 20
"""Optimizer steps below which a run is refused: it ends inside its warm-up."""
CROSSING_MINUTES: float | None = None
"""Minutes on a processor from which training beats features that need none; None: not known within 60 minutes."""
_SEARCHED_MINUTES = 60.0
_SIZES = (224, 128, 96, 64, 32)
_SMALLEST_BATCH = 64
_TRIALS = 4
_ENCODERS = {False: ("resnet18", "resnet10t"), True: ("vit_small_patch16_224", "vit_tiny_patch16_224")}
# Work of a network for an image, as a multiple of that of the first of its row above; only guides the search.
_WORK = {"resnet10t": 0.55, "vit_tiny_patch16_224": 0.3}


class Candidate(NamedTuple):
    """An encoder at an image size: what a trial measures."""

    encoder: str
    size: tuple[int, int]

    def __str__(self) -> str:
        """Both in words."""
        return f"{self.encoder} at {self.size[0]}x{self.size[1]} px"

    @property
    def work(self) -> float:
        """A rough measure of the arithmetic for one image."""
        return _WORK.get(self.encoder, 1.0) * self.size[0] * self.size[1]


class Room(NamedTuple):
    """The bounds of a plan.

    Attributes:
        inputs: the number of images.
        seconds: the time for steps.
        bytes: the memory for training, without the program and its data.
        minutes: the whole budget, for messages.
        photo: the (height, width) of the median image in pixels.
        at_the_end: the work after the last step, as the number of images whose steps take as long.
    """

    inputs: int
    seconds: float
    bytes: float
    minutes: float
    photo: tuple[int, int]
    at_the_end: float = 0.0

    def steps(self, cost: StepCost, batch: int) -> int:
        """The optimizer steps that fit into the time."""
        return max(0, math.floor((self.seconds - self.at_the_end * cost.each) / cost.seconds(batch)))


@dataclass(frozen=True)
class Plan:
    """The chosen candidate, its batch size, and what the choice rests on.

    Attributes:
        candidate: the encoder and the image size.
        batch: the batch size.
        cost: the measured cost of a step.
        steps: the optimizer steps that the budget holds.
        reasons: the reason of each setting that was open, by dotted key.
        notes: lines for the user: the measurements, and the price of the choice.
    """

    candidate: Candidate
    batch: int
    cost: StepCost
    steps: int
    reasons: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


Trial = Callable[[Candidate], StepCost]


def method_for(config: ImageRunConfig, device: str, known: bool) -> tuple[str, str]:
    """The method for ``auto``, and the reason.

    Args:
        config: the settings.
        device: the device that trains.
        known: True if the method ``patches`` exists.
    """
    duration = config.train.duration
    if duration == "auto" or Duration.parse(duration).unit != "minutes":
        return "simclr", "a budget without minutes is for training"
    if fixed := _settings_of_training(config):
        return "simclr", f"{fixed} is for training"
    if not known or device != "cpu":
        return "simclr", "usual"
    minutes = Duration.parse(duration).amount
    if CROSSING_MINUTES is not None and minutes >= CROSSING_MINUTES:
        return "simclr", f"training wins from {CROSSING_MINUTES:g} minutes on"
    if CROSSING_MINUTES is None and minutes > _SEARCHED_MINUTES:
        return "simclr", f"up to {_SEARCHED_MINUTES:g} minutes nothing beats patches here; above, training may"
    when = f"within {_SEARCHED_MINUTES:g}" if CROSSING_MINUTES is None else f"below {CROSSING_MINUTES:g}"
    return "patches", f"no training is known to beat it {when} minutes on a processor"


def _settings_of_training(config: ImageRunConfig) -> str:
    """The first setting given by the user that only a method with steps has; "" without one."""
    given = {
        "encoder": config.encoder.model_fields_set,
        "optimizer": config.optimizer.model_fields_set,
        "train": config.train.model_fields_set & {"batch_size", "accumulate", "precision", "compile"},
        "method": config.method.keys() - {"name"},
        "data": config.data.model_fields_set & {"views"},
    }
    settings = config.model_dump()
    named = (f"{group}.{key}" for group, keys in given.items() for key in keys if settings[group][key] != "auto")
    return next(named, "")


def candidates(draft: Draft, reads: Images, size: tuple[int, int]) -> list[Candidate]:
    """The candidates that fit what the user fixed, the best first.

    Args:
        draft: the settings.
        reads: the needs of the method.
        size: the largest (height, width) that suits the images.
    """
    smaller = [(side, side) for side in _SIZES if side < min(size)]
    given = draft.get("data.image_size")
    sizes = [size, *smaller] if draft.is_open("data.image_size") else [as_pair(given)]
    encoders = _ENCODERS[reads.tokens] if draft.is_open("encoder.name") else (draft.get("encoder.name"),)
    return [Candidate(encoder, each) for each in sizes for encoder in encoders]


def as_pair(size: Any) -> tuple[int, int]:
    """The (height, width) of a size that is a pair, or one number for both."""
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def make_plan(draft: Draft, reads: Images, *, size: tuple[int, int], room: Room, trial: Trial) -> Plan:
    """The plan for a budget in minutes.

    Args:
        draft: the settings; those that are not open are kept.
        reads: the needs of the method.
        size: the largest (height, width) that suits the images.
        room: the time and the memory.
        trial: measures a candidate.

    Raises:
        UsageError: the budget holds too few steps of anything that fits what is fixed.
        EnvironmentFault: the memory does not hold the smallest candidate.
    """
    ladder = candidates(draft, reads, size)
    batches = _batches(draft, reads, room.inputs)
    search = _Search(ladder, batches, room, trial)
    chosen = search.run()
    cost = search.measured[chosen]
    fitting = [batch for batch in batches if cost.memory(batch) <= room.bytes]
    if not fitting:
        raise EnvironmentFault(_too_large(draft, chosen, batches[-1], cost, room))
    batch = next((one for one in fitting if room.steps(cost, one) >= ENOUGH_STEPS), fitting[-1])
    steps = room.steps(cost, batch)
    plan = Plan(chosen, batch, cost, steps)
    if steps < FEWEST_STEPS:
        raise UsageError(_too_slow(draft, plan, search, room))
    per_step = f"measured: {_duration(cost.seconds(batch))} a step here, {steps:,} steps in {room.minutes:g} minutes"
    keys = [key for key in ("data.image_size", "encoder.name", "train.batch_size") if draft.is_open(key)]
    notes = (*search.table(batch), *_price(draft, plan, size, search, room))
    return Plan(chosen, batch, cost, steps, dict.fromkeys(keys, per_step), notes)


def _batches(draft: Draft, reads: Images, inputs: int) -> list[int]:
    """The batch sizes to choose from, the largest first."""
    if not draft.is_open("train.batch_size"):
        return [int(draft.get("train.batch_size"))]
    largest = largest_batch(inputs, reads.largest_batch)
    return [largest >> shift for shift in range(3) if largest >> shift >= min(largest, _SMALLEST_BATCH)]


class _Search:
    """The search for the best candidate that fits, which measures as few of them as it can.

    The cheapest one is measured first. Its time, scaled by pixels and network, says which candidate to measure next.
    """

    def __init__(self, ladder: list[Candidate], batches: list[int], room: Room, trial: Trial) -> None:
        self._ladder, self._batches, self._room, self._trial = ladder, batches, room, trial
        self.measured: dict[Candidate, StepCost] = {}

    def run(self) -> Candidate:
        """The best candidate that fits, of those measured; the cheapest one if none fits."""
        cheapest = min(self._ladder, key=lambda one: one.work)
        chosen = cheapest
        for _ in range(_TRIALS):
            if chosen not in self.measured:
                self.measured[chosen] = self._trial(chosen)
            chosen = next((one for one in self._ladder if self._fits(one)), cheapest)
            if chosen in self.measured:
                return chosen
        return next((one for one in self._ladder if one in self.measured and self._fits(one)), cheapest)

    def _fits(self, candidate: Candidate) -> bool:
        batch, cost = self._batches[-1], self.cost(candidate)
        return cost.memory(batch) <= self._room.bytes and self._room.steps(cost, batch) >= ENOUGH_STEPS

    def cost(self, candidate: Candidate) -> StepCost:
        """The cost of a candidate: measured, or scaled from the measured one that is closest to it."""
        if candidate in self.measured:
            return self.measured[candidate]
        nearest = min(self.measured, key=lambda one: abs(math.log(one.work / candidate.work)))
        known, times = self.measured[nearest], candidate.work / nearest.work
        return StepCost(known.fixed, known.each * times, known.fixed_bytes, known.each_bytes * times)

    def table(self, batch: int) -> Iterator[str]:
        """A line for each candidate, with what was measured, or scaled from it."""
        for candidate in self._ladder:
            cost, how = self.cost(candidate), "measured" if candidate in self.measured else "scaled"
            steps, memory = self._room.steps(cost, batch), cost.memory(batch) / 1e9
            each = _duration(cost.seconds(batch))
            yield f"{candidate}, batch {batch}: {each} a step, {steps:,} steps, {memory:.1f} GB ({how})"

    def minutes_for(self, candidate: Candidate, steps: int) -> float:
        """The budget in minutes that would hold a number of steps of a candidate at its smallest batch."""
        before = self._room.minutes * 60 - self._room.seconds
        return (before + steps * self.cost(candidate).seconds(self._batches[-1])) / 60


def _price(draft: Draft, plan: Plan, size: tuple[int, int], search: _Search, room: Room) -> Iterator[str]:
    """Lines about what the plan costs: pixels that are not looked at, and steps that are too few."""
    chosen, short = plan.candidate, min(room.photo)
    if min(chosen.size) < short and draft.is_open("data.image_size"):
        line = f"images of {room.photo[0]}x{room.photo[1]} px are trained at {chosen.size[0]}x{chosen.size[1]} px: "
        line += f"details below {short / min(chosen.size):.2g} px are lost"
        if larger := next((side for side in reversed(_SIZES) if min(chosen.size) < side <= min(size)), None):
            minutes = _whole(search.minutes_for(Candidate(chosen.encoder, (larger, larger)), ENOUGH_STEPS))
            line += f"; --image-size {larger} would take {minutes} minutes"
        yield line
    if plan.steps < ENOUGH_STEPS:
        minutes = _whole(search.minutes_for(chosen, ENOUGH_STEPS))
        yield f"{plan.steps:,} steps are few to learn from: --minutes {minutes} would hold {ENOUGH_STEPS}"


def _too_slow(draft: Draft, plan: Plan, search: _Search, room: Room) -> str:
    """The line that refuses a plan, and the nearest one that can work."""
    seconds = plan.cost.seconds(plan.batch)
    held = f"{plan.candidate}, batch {plan.batch}, takes {_duration(seconds)} a step here: {plan.steps} steps"
    minutes = f"--minutes {_whole(search.minutes_for(plan.candidate, ENOUGH_STEPS))}"
    smaller = [
        one.size[0]
        for one in (Candidate(plan.candidate.encoder, (side, side)) for side in _SIZES)
        if min(one.size) < min(plan.candidate.size)
        and search.minutes_for(one, ENOUGH_STEPS) <= room.minutes
        and not draft.is_open("data.image_size")
    ]
    hint = f"--image-size {smaller[0]}, or {minutes}" if smaller else minutes
    return f"{held} in {_duration(room.minutes * 60)}, at least {FEWEST_STEPS} are needed\nuse {hint}"


def _too_large(draft: Draft, candidate: Candidate, batch: int, cost: StepCost, room: Room) -> str:
    """The line that refuses a plan that needs too much memory, and what would fit."""
    need = f"{candidate}, batch {batch}, needs {cost.memory(batch) / 1e9:.1f} GB, {room.bytes / 1e9:.1f} GB are free"
    fits = (room.bytes - cost.fixed_bytes) / max(cost.each_bytes, 1)
    if fits >= 2:
        return f"{need}\nuse --batch-size {1 << int(fits).bit_length() - 1}, a smaller --image-size, or more memory"
    return f"{need}\nuse a smaller --image-size or --encoder, or a machine with more memory"


def _duration(seconds: float) -> str:
    """Seconds in words, with two digits."""
    return f"{seconds:.2g} s" if seconds < 90 else f"{seconds / 60:.2g} minutes"


def _whole(minutes: float) -> int:
    return max(1, math.ceil(minutes))
