"""The data, the time and the memory that a plan of a run on images is made from on this machine."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np

from selfstudy.config import AUTO_METHOD, set_key, validate
from selfstudy.errors import EnvironmentFault
from selfstudy.images.config import ImageRunConfig
from selfstudy.images.glance import Glance, glance, header_sizes, side_for
from selfstudy.images.plan import Candidate, Plan, Room, as_pair, candidates, make_plan, method_for
from selfstudy.images.resolve import ImageInputs, measured_precision, natural_size, resolve
from selfstudy.images.scan import Data
from selfstudy.images.sources import Source
from selfstudy.machine.devices import best_device
from selfstudy.machine.processors import processors, usable_memory, used_memory
from selfstudy.methods import entries
from selfstudy.methods.base import Method
from selfstudy.methods.reads import Images
from selfstudy.ops.duration import Duration
from selfstudy.runs.draft import Draft, largest_batch
from selfstudy.runs.resolved import Resolved
from selfstudy.runs.trial import StepCost
from selfstudy.views.presets import changed
from selfstudy.views.spec import View, one_each

MEMORY_SHARE = 0.5
"""Share of the memory that this process may use; the rest is for the system, other programs and what varies."""
_TRIAL_SECONDS, _TRIAL_SHARE = 6.0, 0.05  # all trials of a plan take at most this time, and this share of the budget
_TRIALS = 3  # that a plan usually needs
_OTHER_SECONDS = 8.0  # for the imports, the files at the beginning and at the end, and the end of the process
_AT_THE_END = 2048  # images that are embedded after the last step, in about a sixth of the time of their steps
_WHITENING_SHARE = 0.05  # of the budget; statistics take at most this time
# Tokens of 4 x 4 px in a large transformer take about this much; a ResNet takes a tenth.
_MOST_BYTES_A_PIXEL = 20_000
_WHOLE = "the images are not much larger than needed"
_PRECISION_BATCH = 16  # images in a trial of the two precisions


class TrialOf(Protocol):
    """Measures the cost of a step of a configuration on some images."""

    def __call__(self, opened: Data, resolved: Resolved[ImageInputs], *, seconds: float) -> StepCost:
        """The cost of a step, by trials of about this many seconds."""
        ...


class Decision(NamedTuple):
    """A configuration that follows from a plan.

    Attributes:
        config: the configuration; what the plan is about is decided in it.
        steps: the optimizer steps that the budget holds.
        step_seconds: the time of each by the measurement.
        bytes: the largest memory of the whole process, by the measurement.
        reasons: the reason of each setting that the plan decided, by dotted key.
        notes: lines for the user.
    """

    config: ImageRunConfig
    steps: int
    step_seconds: float
    bytes: float
    reasons: dict[str, str]
    notes: tuple[str, ...]


def with_method(config: ImageRunConfig) -> tuple[ImageRunConfig, dict[str, str]]:
    """The configuration with a method in place of ``auto``, and the reason for it."""
    if config.method["name"] != AUTO_METHOD:
        return config, {}
    name, reason = method_for(config, best_device(config.train.device)[0], "patches" in entries())
    return fixed(config, {"method.name": name}), {"method.name": reason}


def with_side(config: ImageRunConfig, source: Source, largest: int) -> tuple[ImageRunConfig, dict[str, str]]:
    """The configuration of a solved method with the size in which large images are read, and the reason for it.

    Args:
        config: the settings; only for a budget in minutes something is decided.
        source: the images.
        largest: the longest side in pixels that the method looks at.
    """
    if not config.train.duration.endswith("minutes") or config.data.shrink_to != "auto":
        return config, {}
    given = config.data.image_size
    sizes = header_sizes(source)
    size = natural_size(sizes, largest)[0] if given == "auto" else as_pair(given)
    side = 2 * min(size)
    if 2 * side > float(np.median(sizes.min(axis=1))):
        return fixed(config, {"data.shrink_to": None}), {"data.shrink_to": _WHOLE}
    return fixed(config, {"data.shrink_to": side}), {"data.shrink_to": "twice the size that the method looks at"}


def free_memory() -> float:
    """The bytes that training may use in addition to what this process uses now."""
    return MEMORY_SHARE * usable_memory() - used_memory()


def surely_fits(resolved: Resolved[ImageInputs]) -> bool:
    """True if the batch fits into the free memory by a high estimate for any encoder, so that no trial is needed."""
    views = [spec for spec in one_each(resolved.inputs.specs) if isinstance(spec, View)]
    pixels = sum(view.size[0] * view.size[1] for view in views)
    return _MOST_BYTES_A_PIXEL * pixels * resolved.train.batch_size <= free_memory()


def parts_for(cost: StepCost, batch: int) -> int:
    """The smallest number of equal micro-batches, a power of two, that fit into the free memory.

    Raises:
        EnvironmentFault: two images are too many.
    """
    parts = 1
    while cost.memory(batch // parts) > free_memory():
        if batch % (2 * parts) or batch // (2 * parts) < 2:
            need = f"{batch // parts} images need {cost.memory(batch // parts) / 1e9:.1f} GB"
            raise EnvironmentFault(
                f"{need}, {max(0.0, free_memory()) / 1e9:.1f} GB are free\nuse a smaller --image-size or --encoder"
            )
        parts *= 2
    return parts


def is_planned(config: ImageRunConfig) -> bool:
    """True if a plan decides the configuration: one process, a budget in minutes, and settings that are open."""
    duration, open_settings = config.train.duration, config.optimizer.lr == "auto"
    return duration.endswith("minutes") and config.train.devices == 1 and open_settings


def fixed(config: ImageRunConfig, values: Mapping[str, Any]) -> ImageRunConfig:
    """The configuration with other values of some settings, by dotted key; the others stay as open as they are."""
    settings = config.model_dump(exclude_unset=True)
    for key, value in values.items():
        set_key(settings, key, value)
    return validate(ImageRunConfig, settings)


@dataclass
class Prospect:
    """The facts that a plan is made from.

    Attributes:
        config: the settings, some of them open.
        method: the class of the method.
        inputs: the number of images.
        size: the largest (height, width) that suits the images.
        seen: a few of the images.
        precision: the measured precision and its reason, once known.
        costs: the measured costs of candidates.
        stems: the stem of each measured candidate and its reason; the final configuration keeps it.
        used: the memory in use before the first trial, in bytes.
    """

    config: ImageRunConfig
    method: type[Method]
    inputs: int
    size: tuple[int, int]
    seen: Glance
    precision: tuple[str, str] | None = None
    costs: dict[Candidate, StepCost] = field(default_factory=dict)
    stems: dict[Candidate, tuple[str, str]] = field(default_factory=dict)
    used: int = field(default_factory=used_memory)

    @classmethod
    def of(cls, config: ImageRunConfig, method: type[Method], source: Source) -> "Prospect":
        """A look at the images.

        Raises:
            DataError: none of the first images can be used.
        """
        data = config.data
        channels = None if data.channels == "auto" else data.channels
        size, _ = natural_size(header_sizes(source))
        given = data.image_size
        largest = size if given == "auto" else as_pair(given)
        side = side_for(list(method.default_views(largest)))
        seen = glance(source, channels=channels, side=side)
        return cls(config, method, len(source), size, seen)

    def plan(self, trial: TrialOf, spent: float) -> Decision:
        """The configuration that the machine has the time and the memory for.

        Args:
            trial: measures the cost of a step.
            spent: the seconds of the budget that were used before.

        Raises:
            UsageError: the budget holds too few steps of anything that fits what is fixed.
            EnvironmentFault: the memory does not hold the smallest plan.
        """
        minutes, draft = Duration.parse(self.config.train.duration).amount, Draft(self.config)
        reads = Images.of(self.method)
        count = min(_TRIALS, len(candidates(draft, reads, self.size)))
        trials = min(_TRIAL_SECONDS, _TRIAL_SHARE * 60 * minutes)
        reading = self.seen.seconds * self.inputs / (min(processors(), 8) if self.inputs >= 32 else 1)
        room = Room(
            inputs=self.inputs,
            seconds=60 * minutes * (1 - _WHITENING_SHARE) - spent - trials - reading - _OTHER_SECONDS,
            bytes=MEMORY_SHARE * usable_memory() - self._program_bytes(),
            minutes=minutes,
            photo=self._photo(),
            at_the_end=min(_AT_THE_END, self.inputs) / 6,
        )
        plan = make_plan(
            draft,
            reads,
            size=self.size,
            room=room,
            trial=lambda candidate: self._known(candidate, trial, trials / count),
        )
        return self._decision(plan)

    def plan_again(self, before: Decision, times: float, trial: TrialOf, spent: float) -> Decision:
        """The plan after steps took ``times`` as long as ``before`` says, with new trials of all others."""
        size = before.config.data.image_size
        assert isinstance(size, tuple)  # decided by a plan
        candidate = Candidate(before.config.encoder.name, size)
        cost = self.costs[candidate]
        self.costs = {candidate: cost._replace(fixed=times * cost.fixed, each=times * cost.each)}
        return self.plan(trial, spent)

    def _known(self, candidate: Candidate, trial: TrialOf, seconds: float) -> StepCost:
        """The cost of a candidate, which is measured once."""
        if candidate not in self.costs:
            self.costs[candidate] = self._cost(candidate, trial, seconds)
        return self.costs[candidate]

    def _cost(self, candidate: Candidate, trial: TrialOf, seconds: float) -> StepCost:
        """The measured cost of a candidate; the first one also tells the precision."""
        largest = largest_batch(self.inputs, Images.of(self.method).largest_batch)
        source, found = self.seen.of_size(self._side(candidate), largest)
        values = {**_values(candidate), "train.batch_size": largest}
        if self.precision is not None:
            values["train.precision"] = self.precision[0]
        config = fixed(self.config, values)
        resolved = resolve(
            config, found, self.method, measure=lambda spec, _: measured_precision(spec, _PRECISION_BATCH)
        )
        if "train.precision" in resolved.reasons:
            self.precision = resolved.train.precision, resolved.reasons["train.precision"]
        if "encoder.stem" in resolved.reasons:
            self.stems[candidate] = resolved.inputs.encoder.stem, resolved.reasons["encoder.stem"]
        return trial(Data(source, found), resolved, seconds=seconds)

    def _decision(self, plan: Plan) -> Decision:
        """The settings of a plan."""
        values, reasons = {**_values(plan.candidate), "train.batch_size": plan.batch}, dict(plan.reasons)
        side = self._side(plan.candidate)
        if self.config.data.shrink_to == "auto":
            shrinks = 2 * side <= min(self._photo())
            values["data.shrink_to"] = side if shrinks else None
            why = "no crop gets fewer pixels than its view" if shrinks else _WHOLE
            reasons["data.shrink_to"] = why
        if self.precision is not None:
            values["train.precision"], reasons["train.precision"] = self.precision
        if plan.candidate in self.stems:
            values["encoder.stem"], reasons["encoder.stem"] = self.stems[plan.candidate]
        seconds = plan.cost.seconds(plan.batch)
        return Decision(fixed(self.config, values), plan.steps, seconds, self._used(plan), reasons, plan.notes)

    def _side(self, candidate: Candidate) -> int:
        """The shorter side in pixels of the images that a candidate needs."""
        specs = self.method.default_views(candidate.size, self.seen.scan.channels)
        views = changed(specs, self.config.data.views, any_count=Images.of(self.method).any_count)
        return side_for(views)

    def _photo(self) -> tuple[int, int]:
        """The median (height, width) of the images in pixels."""
        height, width = np.median(self.seen.scan.sizes, axis=0).astype(int).tolist()
        return height, width

    def _used(self, plan: Plan) -> float:
        """The memory of the whole process that trains by a plan."""
        return self._program_bytes() + plan.cost.memory(plan.batch)

    def _program_bytes(self) -> float:
        """The memory in use before the first trial, and that of all images in the size of the glance, if kept."""
        assert self.seen.scan.images is not None  # a glance keeps its images
        some = [self.seen.scan.images[i] for i in range(len(self.seen.scan.images))]
        each = sum(image.numel() * image.element_size() for image in some) / len(some)
        kept = each * self.inputs if 2 * each * self.inputs <= usable_memory() / 4 else 0.0
        return self.used + kept


def _values(candidate: Candidate) -> dict[str, Any]:
    return {"encoder.name": candidate.encoder, "data.image_size": candidate.size}
