"""Label-free health of a representation while it is trained: is it collapsing, is anything being learnt?

Statistics of the last embeddings, the loss beside the value it has when nothing is learnt, and a verdict in words.
The rules, in the order they are tried (see :func:`verdict`):

=========  ==============================================  =====================================================
verdict    rule                                            where the number comes from
=========  ==============================================  =====================================================
collapsed  an embedding is not finite
collapsed  dimension std below 0.1                         0 is a constant output, 1 an even spread: Chen & He
                                                           2021, arXiv:2011.10566, figure 2; 0.1 is a tenth of that
collapsed  effective rank below 2                          all embeddings on about one line: Jing et al. 2022,
                                                           arXiv:2110.09348
watch      either of these two in the first 10 % of        random weights may give it: a ReLU network whose outputs
           training                                        have a large common part
watch      loss within 1 % of its chance value             the outputs are uniform; checked after the first 10 %
                                                           of training, which may be warm-up
watch      loss within 2 % of a plateau that the data      a language model that predicts frequencies has the loss of
           imply, such as the entropy of tokens            their entropy; after 10 % as well
watch      teacher entropy within 1 % of ln K, or below    Caron et al. 2021, arXiv:2104.14294, section 5.3: the two
           1 % of it                                       ways in which a teacher collapses; after 10 % as well
watch      the loss for the teacher's targets above        the student foretells every target, which it can only
           their entropy by less than 1 % of ln K          while they are alike for all images; seen in short runs
                                                           (docs/log.md, 2026-11-24)
healthy    none of these
=========  ==============================================  =====================================================
"""

import json
import math
from collections import deque
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

COLLAPSED_STD = 0.1
COLLAPSED_RANK = 2.0
CHANCE_MARGIN = 0.01
PLATEAU_MARGIN = 0.02
GRACE = 0.1  # fraction of training that is judged mildly: it may be warm-up, or the random weights it began with


def effective_rank(embedding: Tensor) -> float:
    """How many dimensions the embeddings use: exp of the entropy of the singular values divided by their sum.

    Not centred, so a common direction counts as one dimension. With fewer rows than dimensions it cannot exceed the
    number of rows.

    Args:
        embedding: (N, D).

    Returns:
        Between 1 and min(N, D); 0 when all values are zero, NaN when one is not finite.

    Source: Roy & Vetterli 2007, EUSIPCO, "The effective rank"; for embeddings Garrido et al. 2023 (RankMe),
    arXiv:2210.02885, eq. 1.
    """
    if not bool(torch.isfinite(embedding).all()):
        return math.nan
    x = embedding.double()
    # float64: the roots of float32 eigenvalues would drown singular values below 1e-3 of the largest
    gram = x @ x.T if len(x) < x.shape[1] else x.T @ x
    singular = torch.linalg.eigvalsh(gram).clamp_min(0).sqrt()
    if not float(singular.sum()) > 0:
        return 0.0
    shares = singular / singular.sum()
    return float(torch.special.entr(shares).sum().exp())


def dimension_std(embedding: Tensor) -> float:
    """Standard deviation of the L2-normalised embeddings, mean over dimensions, times sqrt(D).

    Args:
        embedding: (N, D).

    Returns:
        0 when all embeddings point the same way, near 1 when they are spread evenly around the origin. Outputs of a
        ReLU share a direction and stay below 1.

    Source: Chen & He 2021 (SimSiam), arXiv:2011.10566, section 4.1.
    """
    x = _normalised(embedding)
    return float(x.std(dim=0, correction=0).mean()) * math.sqrt(x.shape[1])


def alignment(first: Tensor, second: Tensor) -> float:
    """Mean squared distance between the normalised embeddings of two views of the same images; 0 is best, 4 worst.

    Args:
        first: (N, D).
        second: (N, D), row by row the same images.

    Source: Wang & Isola 2020, arXiv:2005.10242, eq. 5 with alpha = 2.
    """
    return float((_normalised(first) - _normalised(second)).square().sum(dim=1).mean())


def uniformity(embedding: Tensor) -> float:
    """Log of the mean Gaussian potential over pairs of normalised embeddings; 0 is collapsed, towards -4 is even.

    Args:
        embedding: (N, D), N at least 2.

    Source: Wang & Isola 2020, arXiv:2005.10242, eq. 6 with t = 2, over the pairs i < j.
    """
    x = _normalised(embedding)
    with torch.autocast(x.device.type, enabled=False):
        products = x @ x.T  # (N, N)
    lengths = products.diagonal()  # 1, but 0 for an embedding of zeros, which no normalisation lengthens
    squared = (lengths[:, None] + lengths - 2 * products).clamp_min(0)
    potentials = (-2 * squared).exp().triu(diagonal=1)
    return float((potentials.sum() / (len(x) * (len(x) - 1) / 2)).log())


def _normalised(embedding: Tensor) -> Tensor:
    """Rows of length 1 in float32, float64 for float64 input."""
    return F.normalize(embedding if embedding.dtype == torch.float64 else embedding.float(), dim=1)


class HealthReading(NamedTuple):
    """One look at a run's health; statistics are None when the method gives no embedding.

    Attributes:
        step: optimizer steps done.
        effective_rank: see :func:`effective_rank`.
        dimension_std: see :func:`dimension_std`.
        uniformity: see :func:`uniformity`.
        alignment: see :func:`alignment`; None unless a pair of views was given.
        teacher_entropy: mean entropy of the teacher's targets for images in nats, of methods that report it.
        teacher_loss: cross entropy against these targets: the method's ``image_loss``, or the loss where it has none.
        uniform_entropy: ln K, which the entropy of these targets cannot exceed.
        loss: of this step.
        chance_loss: the loss when nothing is learnt, of methods that have such a value.
        verdict: ``"healthy"``, ``"watch"`` or ``"collapsed"``.
        message: one line: what, since when, the likely cause, what to change.
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

    def to_json(self) -> str:
        """One line of JSON; what is not finite becomes null."""
        values = self._asdict().items()
        return json.dumps({k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values})


class Finding(NamedTuple):
    """What :func:`verdict` concludes: the verdict and its three parts in words."""

    verdict: str
    what: str
    cause: str
    change: str


def verdict(
    reading: HealthReading, *, fraction: float, chance: str, plateau: tuple[float, str] | None = None
) -> Finding:
    """The first rule of the table above that applies to a reading's numbers.

    Args:
        reading: its ``verdict`` and ``message`` are not looked at.
        fraction: of training done, in [0, 1].
        chance: the formula of ``reading.chance_loss``, for the words.
        plateau: a loss at which runs get stuck, and what it is.
    """
    broken, collapse = _not_finite(reading), _collapse(reading)
    if fraction < GRACE:
        return broken or (collapse._replace(verdict="watch") if collapse else _healthy(reading))
    late = _chance(reading, chance) or _teacher(reading) or _stuck(reading, plateau)
    return broken or collapse or late or _healthy(reading)


def _stuck(reading: HealthReading, plateau: tuple[float, str] | None) -> Finding | None:
    """The rule about a loss that is reached without looking at what the task gives."""
    if plateau is None or abs(reading.loss - plateau[0]) > PLATEAU_MARGIN * plateau[0]:
        return None
    return Finding(
        "watch",
        f"loss {reading.loss:.2f} = {plateau[1]}: it predicts how frequent tokens are and uses no context yet",
        "too few steps, a learning rate that is too low, or none of it warm yet",
        "train longer, or try optimizer.lr three times higher with optimizer.warmup=0.1",
    )


def _not_finite(reading: HealthReading) -> Finding | None:
    """The rule about embeddings that are no numbers, which no training mends."""
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
    """The rules about what the embeddings have in common."""
    std, rank = reading.dimension_std, reading.effective_rank
    if std is None or rank is None:
        return None
    if std < COLLAPSED_STD:
        return Finding(
            "collapsed",
            f"all inputs get nearly the same embedding (dimension std {std:.3f}; even spread is 1)",
            "the learning rate is too high, the inputs are all alike, or nothing in the loss keeps them apart",
            "lower optimizer.lr, look at what the method sees (of images in views.png), or take another method",
        )
    if rank < COLLAPSED_RANK:
        return Finding(
            "collapsed",
            f"all embeddings lie on about one line (effective rank {rank:.1f})",
            "the learning rate or weight decay is too high, or the views have too little in common",
            "lower optimizer.lr and optimizer.weight_decay, or make the crops larger",
        )
    return None


def _chance(reading: HealthReading, formula: str) -> Finding | None:
    """The rule about the loss, held against its chance value."""
    chance = reading.chance_loss
    if chance is None or abs(reading.loss - chance) > CHANCE_MARGIN * abs(chance):
        return None
    return Finding(
        "watch",
        f"loss {reading.loss:.2f} = {formula}: the outputs are uniform, nothing is learnt yet",
        "the learning rate does not suit the batch size, or the views have too little in common",
        "try optimizer.lr three times lower and three times higher, or weaker views",
    )


def _teacher(reading: HealthReading) -> Finding | None:
    """The rules about the entropy of a teacher's targets, which need no chance value of the whole loss."""
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
            f"loss {loss:.2f} = teacher entropy: its targets are about the same for every image",
            "the teacher follows the student too fast, or the head maps all images to one output",
            "raise method.momentum, or set method.head_norm=true",
        )
    return None


def _healthy(reading: HealthReading) -> Finding:
    """What there is to say when no rule applies."""
    if reading.effective_rank is None or reading.dimension_std is None:
        return Finding("healthy", f"loss {reading.loss:.3f}; this method gives no embedding to look at", "", "")
    what = f"effective rank {reading.effective_rank:.0f}, dimension std {reading.dimension_std:.2f}"
    return Finding("healthy", what, "", "")


class HealthMonitor:
    """Keeps the last embeddings of a run and reads its health every few steps.

    It only looks: no weight, no random state and no training result depends on it, and it need not survive a restart.

    Args:
        every: steps between readings; there is one at the end of training as well.
        chance: the loss when nothing is learnt and its formula, ``(6.93, "ln(2B - 1)")``.
        plateau: a loss at which runs get stuck, and what it is.
        uniform_entropy: ln K of methods that report ``teacher_entropy``; without it that is not judged.
        ring: embeddings kept. The effective rank cannot exceed it, and a reading's time grows with its square.
    """

    def __init__(
        self,
        *,
        every: int,
        chance: tuple[float, str] | None,
        plateau: tuple[float, str] | None = None,
        uniform_entropy: float | None = None,
        ring: int = 512,
    ) -> None:
        self._every, self._ring, self._plateau = every, ring, plateau
        self._chance_loss = chance[0] if chance else None
        self._formula = chance[1] if chance else ""
        self._uniform_entropy = uniform_entropy
        self._kept: deque[Tensor] = deque()
        self._rows = 0
        self._since: tuple[str, int] = ("", 0)

    def observe(
        self,
        step: int,
        loss: float,
        metrics: dict[str, float],
        embedding: Tensor | None,
        *,
        fraction: float,
        pair: tuple[Tensor, Tensor] | None = None,
    ) -> HealthReading | None:
        """The reading, on steps that have one.

        Args:
            step: optimizer steps done, this one included.
            loss: of this step.
            metrics: the method's own; ``teacher_entropy`` is read, and ``image_loss``, the loss for the same targets.
            embedding: (B, D), any device and precision.
            fraction: of training done, in [0, 1].
            pair: embeddings (B, D) of two views of the same images, for the alignment.
        """
        due = step % self._every == 0 or fraction >= 1
        if embedding is not None:
            self._keep(embedding)
        return self._read(step, loss, metrics, fraction, pair) if due else None

    def _keep(self, embedding: Tensor) -> None:
        """Add a batch, drop the batches that are no longer among the last ``ring`` rows."""
        # a copy, for a compiled model may overwrite its output; left on its device, so that no step waits for it
        self._kept.append(embedding.detach().to(torch.float32, copy=True))
        self._rows += len(embedding)
        while self._rows - len(self._kept[0]) >= self._ring:
            self._rows -= len(self._kept.popleft())

    def _read(
        self,
        step: int,
        loss: float,
        metrics: dict[str, float],
        fraction: float,
        pair: tuple[Tensor, Tensor] | None,
    ) -> HealthReading:
        """Measure, judge, and remember since when the judgement has been the same."""
        rows = torch.cat(list(self._kept))[-self._ring :].cpu() if self._kept else torch.empty(0, 1)  # (N, D)
        seen = len(rows) > 1
        reading = HealthReading(
            step=step,
            effective_rank=effective_rank(rows) if seen else None,
            dimension_std=dimension_std(rows) if seen else None,
            uniformity=uniformity(rows) if seen else None,
            alignment=alignment(*pair) if pair else None,
            teacher_entropy=metrics.get("teacher_entropy"),
            teacher_loss=metrics.get("image_loss", loss) if "teacher_entropy" in metrics else None,
            uniform_entropy=self._uniform_entropy,
            loss=loss,
            chance_loss=self._chance_loss,
            verdict="",
            message="",
        )
        finding = verdict(reading, fraction=fraction, chance=self._formula, plateau=self._plateau)
        if finding.cause != self._since[0]:
            self._since = (finding.cause, step)
        return reading._replace(verdict=finding.verdict, message=_message(finding, self._since[1]))


def _message(finding: Finding, since: int) -> str:
    """One line: what, since when, the likely cause, what to change."""
    if finding.verdict == "healthy":
        return f"healthy: {finding.what}"
    advice = f"Likely cause: {finding.cause}. Change: {finding.change}."
    return f"{finding.verdict} since step {since:,}: {finding.what}. {advice}"
