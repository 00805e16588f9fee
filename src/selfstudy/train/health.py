"""Label-free health of a representation during training: does it collapse, does it learn anything?

A reading holds statistics of the latest embeddings, the loss, the value of the loss at which nothing is learnt, and a
verdict. :func:`verdict` tries these rules in this order:

=========  ==============================================  =====================================================
verdict    rule                                            source of the number
=========  ==============================================  =====================================================
collapsed  an embedding is not finite
collapsed  dimension std below 0.1                         0 is a constant output, 1 an even spread: Chen & He
                                                           2021, arXiv:2011.10566, figure 2; 0.1 is a tenth of that
collapsed  effective rank below 2                          all embeddings on about one line: Jing et al. 2022,
                                                           arXiv:2110.09348
watch      one of these two in the first 10 % of           random weights can cause it: the outputs of a ReLU
           training                                        network have a large part in common
watch      loss within 1 % of its chance value             the outputs are uniform; tested after the first 10 % of
                                                           training, which may be warm-up
watch      loss within 2 % of a plateau that follows       a language model that predicts only how frequent tokens
           from the data, such as the entropy of tokens    are reaches their entropy; tested after 10 % as well
watch      teacher entropy within 1 % of ln K, or below    Caron et al. 2021, arXiv:2104.14294, section 5.3: the two
           1 % of it                                       ways a teacher collapses; tested after 10 % as well
watch      loss for the teacher's targets less than 1 %    the student predicts every target, which is possible only
           of ln K above their entropy                     if they are the same for all inputs; seen in short runs
                                                           (docs/log.md, 2026-11-24)
healthy    no other rule applies
=========  ==============================================  =====================================================
"""

import math
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from selfstudy.errors import TrainingError
from selfstudy.nn.modes import evaluation_mode
from selfstudy.ops.spread import alignment, dimension_std, effective_rank, uniformity
from selfstudy.train.monitor import Observation

COLLAPSED_STD = 0.1
COLLAPSED_RANK = 2.0
CHANCE_MARGIN = 0.01
PLATEAU_MARGIN = 0.02
GRACE = 0.1  # fraction of training that is judged mildly: it may be warm-up, or show the random initial weights
_PAIRS = 256  # inputs whose two views are embedded for the alignment


class References(NamedTuple):
    """Values that a run's loss is compared with; None where the method or the data have none.

    Attributes:
        chance: the loss if nothing is learnt, in nats, and its formula: ``(6.93, "ln(2B - 1)")``.
        plateau: a loss at which runs get stuck, in nats, and what it means.
        uniform_entropy: ln K, the largest entropy of a teacher's targets, for methods that report ``teacher_entropy``.
    """

    chance: tuple[float, str] | None = None
    plateau: tuple[float, str] | None = None
    uniform_entropy: float | None = None


class HealthReading(NamedTuple):
    """One reading of a run's health; the statistics are None if the method returns no embedding.

    Attributes:
        step: the number of optimizer steps done.
        effective_rank: :func:`selfstudy.ops.spread.effective_rank` of the embeddings.
        dimension_std: :func:`selfstudy.ops.spread.dimension_std` of the embeddings.
        uniformity: :func:`selfstudy.ops.spread.uniformity` of the embeddings.
        alignment: :func:`selfstudy.ops.spread.alignment` of two views; None if the method has no two equal views.
        teacher_entropy: the mean entropy of the teacher's targets for whole inputs, in nats; None if not reported.
        teacher_loss: the cross-entropy with these targets: the metric ``image_loss``, or the loss without that metric.
        uniform_entropy: ln K, the upper bound of the entropy of these targets.
        loss: the loss of this step.
        chance_loss: the loss if nothing is learnt; None if the method has no such value.
        verdict: ``"healthy"``, ``"watch"`` or ``"collapsed"``.
        message: one line with the finding, its first step, the likely cause, and what to change.
    """

    step: int
    effective_rank: float | None
    dimension_std: float | None
    uniformity: float | None
    alignment: float | None
    teacher_entropy: float | None
    teacher_loss: float | None
    uniform_entropy: float | None
    loss: float
    chance_loss: float | None
    verdict: str
    message: str

    def to_dict(self) -> dict[str, object]:
        """The fields as values that JSON can hold: a number that is not finite becomes None."""
        values = self._asdict().items()
        return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values}


class Finding(NamedTuple):
    """The conclusion of :func:`verdict`: the verdict and its three parts in words."""

    verdict: str
    what: str
    cause: str
    change: str


def verdict(reading: HealthReading, references: References, *, fraction: float) -> Finding:
    """The finding of the first rule of the table above that applies to a reading.

    Args:
        reading: its ``verdict`` and ``message`` are ignored.
        references: values to compare the loss with.
        fraction: share of training done, in [0, 1].
    """
    broken, collapse = _not_finite(reading), _collapse(reading)
    if fraction < GRACE:
        return broken or (collapse._replace(verdict="watch") if collapse else _healthy(reading))
    late = _chance(reading, references.chance) or _teacher(reading) or _stuck(reading, references.plateau)
    return broken or collapse or late or _healthy(reading)


def _stuck(reading: HealthReading, plateau: tuple[float, str] | None) -> Finding | None:
    """The rule about a loss at which runs get stuck."""
    if plateau is None or abs(reading.loss - plateau[0]) > PLATEAU_MARGIN * plateau[0]:
        return None
    return Finding(
        "watch",
        f"loss {reading.loss:.2f} = {plateau[1]}",
        "too few steps, a learning rate that is too low, or a warm-up that is not over",
        "train longer, or try optimizer.lr three times higher with optimizer.warmup=0.1",
    )


def _not_finite(reading: HealthReading) -> Finding | None:
    """The rule about embeddings with NaN or infinity, from which no run recovers."""
    std, rank = reading.dimension_std, reading.effective_rank
    if std is None or rank is None or not (math.isnan(std) or math.isnan(rank)):
        return None
    return Finding(
        "collapsed",
        "embeddings hold NaN or infinity",
        "the learning rate is too high, or half precision overflows",
        "lower optimizer.lr or use --precision fp32",
    )


def _collapse(reading: HealthReading) -> Finding | None:
    """The rules about embeddings that are nearly the same, or lie on a line."""
    std, rank = reading.dimension_std, reading.effective_rank
    if std is None or rank is None:
        return None
    if std < COLLAPSED_STD:
        return Finding(
            "collapsed",
            f"all inputs get nearly the same embedding (dimension std {std:.3f}; even spread is 1)",
            "the learning rate is too high, the inputs are too similar, or nothing in the loss keeps them apart",
            "lower optimizer.lr, look at what the method sees (views.png, if the run has one), or use another method",
        )
    if rank < COLLAPSED_RANK:
        return Finding(
            "collapsed",
            f"all embeddings lie on about one line (effective rank {rank:.1f})",
            "the learning rate or weight decay is too high, or the views have too little in common",
            "lower optimizer.lr and optimizer.weight_decay, or make the crops larger",
        )
    return None


def _chance(reading: HealthReading, chance: tuple[float, str] | None) -> Finding | None:
    """The rule about a loss that is close to its chance value."""
    if chance is None or abs(reading.loss - chance[0]) > CHANCE_MARGIN * abs(chance[0]):
        return None
    return Finding(
        "watch",
        f"loss {reading.loss:.2f} = {chance[1]}: the outputs are uniform, nothing is learnt yet",
        "the learning rate does not suit the batch size, or the views have too little in common",
        "try optimizer.lr three times lower and three times higher, or weaker views",
    )


def _teacher(reading: HealthReading) -> Finding | None:
    """The rules about the entropy of a teacher's targets; they need no chance value of the loss."""
    entropy, uniform, loss = reading.teacher_entropy, reading.uniform_entropy, reading.teacher_loss
    if entropy is None or uniform is None or loss is None:
        return None
    margin = CHANCE_MARGIN * uniform
    if uniform - entropy <= margin:
        return Finding(
            "watch",
            f"teacher entropy {entropy:.2f} = ln K: its targets are uniform and teach nothing",
            "centring outweighs sharpening",
            "lower the teacher's temperature",
        )
    if entropy < margin:
        return Finding(
            "watch",
            f"teacher entropy {entropy:.2f}: its targets are single prototypes",
            "sharpening outweighs centring",
            "raise the teacher's temperature",
        )
    if loss - entropy < margin:
        return Finding(
            "watch",
            f"loss {loss:.2f} = teacher entropy: its targets are about the same for every input",
            "the teacher follows the student too fast, or the head maps all inputs to one output",
            "raise method.momentum, or set method.head_norm=true",
        )
    return None


def _healthy(reading: HealthReading) -> Finding:
    """The finding when no rule applies."""
    if reading.effective_rank is None or reading.dimension_std is None:
        return Finding("healthy", f"loss {reading.loss:.3f}; this method gives no embedding to look at", "", "")
    what = f"effective rank {reading.effective_rank:.0f}, dimension std {reading.dimension_std:.2f}"
    return Finding("healthy", what, "", "")


class HealthMonitor:
    """A monitor that keeps a run's latest embeddings and reads its health every few steps.

    It changes no weight, draws no random number and keeps nothing that must survive a restart.

    Args:
        write: called with each reading.
        every: steps between readings; the last step has one as well.
        references: values to compare the loss with.
        stop: True if a collapse stops training.
        ring: number of embeddings kept. It bounds the effective rank, and a reading's time grows with its square.

    Attributes:
        last: the message of the last reading.
    """

    def __init__(
        self,
        write: Callable[[HealthReading], None],
        *,
        every: int,
        references: References = References(),  # noqa: B008 - a frozen value
        stop: bool = False,
        ring: int = 512,
    ) -> None:
        self.last = "health: no reading yet"
        self._write, self._every, self._references, self._stop, self._ring = write, every, references, stop, ring
        self._kept: deque[Tensor] = deque()
        self._rows = 0
        self._since: tuple[str, int] = ("", 0)
        self._note = ""

    def __call__(self, observation: Observation) -> str:
        """Keep the step's embeddings, and take a reading if one is due.

        Returns:
            The last reading in two words, for the progress bar.

        Raises:
            TrainingError: the embeddings have collapsed and ``stop`` is set.
        """
        step, _ = observation.progress
        if observation.embedding is not None:
            self._keep(observation.embedding)
        if step % self._every == 0 or observation.progress.fraction >= 1:
            reading = self._read(observation, _pair(observation) if step % self._every == 0 else None)
            self._write(reading)
            rank = "" if reading.effective_rank is None else f"rank {reading.effective_rank:.0f} "
            self._note, self.last = f"{rank}{reading.verdict}", reading.message
            if self._stop and reading.verdict == "collapsed":
                raise TrainingError(f"{reading.message}\nhealth.on_collapse is 'stop'; the last checkpoint is whole")
        return self._note

    def _keep(self, embedding: Tensor) -> None:
        """Add a batch and drop batches that are not among the last ``ring`` rows."""
        # a copy, for a compiled model may overwrite its output; left on its device, so that no step waits for it
        self._kept.append(embedding.detach().to(torch.float32, copy=True))
        self._rows += len(embedding)
        while self._rows - len(self._kept[0]) >= self._ring:
            self._rows -= len(self._kept.popleft())

    def _read(self, observation: Observation, pair: tuple[Tensor, Tensor] | None) -> HealthReading:
        """Measure, judge, and remember since when the verdict has been the same."""
        rows = torch.cat(list(self._kept))[-self._ring :].cpu() if self._kept else torch.empty(0, 1)  # (N, D)
        seen, loss, metrics = len(rows) > 1, observation.loss, observation.metrics
        chance = self._references.chance
        reading = HealthReading(
            step=observation.progress.step,
            effective_rank=effective_rank(rows) if seen else None,
            dimension_std=dimension_std(rows) if seen else None,
            uniformity=uniformity(rows) if seen else None,
            alignment=alignment(*pair) if pair else None,
            teacher_entropy=metrics.get("teacher_entropy"),
            teacher_loss=metrics.get("image_loss", loss) if "teacher_entropy" in metrics else None,
            uniform_entropy=self._references.uniform_entropy,
            loss=loss,
            chance_loss=chance[0] if chance else None,
            verdict="",
            message="",
        )
        finding = verdict(reading, self._references, fraction=observation.progress.fraction)
        if finding.cause != self._since[0]:
            self._since = (finding.cause, reading.step)
        return reading._replace(verdict=finding.verdict, message=_message(finding, self._since[1]))


def _pair(observation: Observation) -> tuple[Tensor, Tensor] | None:
    """Embeddings of two views of up to 256 inputs, (N, D) float32 on the CPU, made in evaluation mode.

    None if the first two views differ in shape or dtype, as text and random numbers do.
    """
    kinds = [(view.shape, view.dtype) for view in observation.views[:2]]
    if len(kinds) < 2 or kinds[0] != kinds[1]:
        return None
    encoder = observation.encoder
    with evaluation_mode(encoder), torch.inference_mode():
        first, second = (encoder(view[:_PAIRS]).float().cpu() for view in observation.views[:2])
    return first, second


def _message(finding: Finding, since: int) -> str:
    """One line: what, since when, the likely cause, what to change."""
    if finding.verdict == "healthy":
        return f"healthy: {finding.what}"
    advice = f"Likely cause: {finding.cause}. Change: {finding.change}."
    return f"{finding.verdict} since step {since:,}: {finding.what}. {advice}"
