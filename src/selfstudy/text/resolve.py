"""Decides every ``auto`` of a run on text, each with its reason."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from selfstudy.encoders.text_catalogue import SIZES, TextShape, longest_row, shape_in, shape_of
from selfstudy.errors import UsageError
from selfstudy.machine.processors import processors
from selfstudy.methods.base import DataFacts, Method
from selfstudy.ops.duration import Duration
from selfstudy.runs.draft import (
    Draft,
    Resolved,
    batch_size,
    decide_machine,
    default_duration,
    expected_steps,
    require_one_batch,
)
from selfstudy.text.config import TextRunConfig
from selfstudy.text.files import TEXT_COLUMNS

_TOKENS_TO_SEE = 30_000_000
_TEXT_BATCH, _TEXT_STEPS = 64, 2000
# Tokens of a micro-batch on processors, by the head: hardly slower than more (docs/log.md, 2026-11-26), and memory is
# bounded by them. Where every token is predicted it holds several times as much.
_MICRO_TOKENS = {"causal": 2048, "masked": 8192}
_OPERATIONS = {"cpu": 7.5e10, "mps": 2e12, "cuda": 5e13}  # a second and processor that training reaches, a guess
_OPERATIONS_PER_WEIGHT = 6  # and token: two for the forward pass, four for the backward pass
# Of new text 20 are best for a given amount of computing (Hoffmann et al. 2022, arXiv:2203.15556); short runs on small
# corpora read theirs several times, which is worth less, and do better with half as many (docs/log.md, 2026-11-25).
_TOKENS_PER_WEIGHT = 10
# Seconds of training from which compiling a network's layers is worth it: 5 to 16 of them, and then steps take 5 to
# 29 % less time; over rows of different lengths they take more (docs/log.md, 2026-11-26).
_WORTH_COMPILING = 300


class TextFacts(NamedTuple):
    """What the settings of a run on text depend on.

    Attributes:
        tokens: to learn from.
        rows: function that says how many rows of a length there are.
        column: of tables, the one that all texts come from.
    """

    tokens: int
    rows: Callable[[int], int]
    column: str | None = None


def resolve_text(config: TextRunConfig, facts: TextFacts, method: type[Method]) -> Resolved:
    """The configuration of a run on text with everything decided but the precision on processors.

    Raises:
        DataError: fewer rows than one batch.
        EnvironmentFault: a device that this machine does not have.
        UsageError: an unknown or impossible setting of the method.
    """
    draft = Draft(config)
    decide, settings = draft.decide, draft.settings
    causal = method.language_head == "causal"
    if facts.column is not None:
        usual = facts.column.casefold() in TEXT_COLUMNS
        decide("data.column", facts.column, "a usual name of texts" if usual else "its texts are the longest")
    longest = longest_row(Path(settings["encoder"]["name"]))
    decide("data.context", *_context(facts.tokens, longest, causal=causal, pieces=method.reads_pieces))
    context = settings["data"]["context"]
    rows = facts.rows(context)
    decide_machine(draft)
    decide("train.duration", *default_duration(rows, _TOKENS_TO_SEE // context, "rows"))
    size, why = _text_size(draft, rows)
    decide("encoder.name", f"{'llama' if causal else 'modernbert'}-{size}", why)
    decide("encoder.dropout", method.dropout, "the method's augmentation" if method.dropout else "usual today")
    if method.dropout and not settings["encoder"]["dropout"]:
        name = settings["method"]["name"]
        raise UsageError(
            f"encoder.dropout 0: {name} tells its two views apart by dropout alone\nsay more, or leave it out"
        )
    shape = _shape(settings["encoder"], SIZES[size])
    per_second = _operations(draft) / (_OPERATIONS_PER_WEIGHT * shape.weights) / context
    decide("train.batch_size", *_text_batch(draft, rows, per_second, method.smallest_batch))
    batch = draft.train("batch_size")
    require_one_batch(rows, batch, "rows of text")
    decide("train.accumulate", *_micro_batches(draft, context, method.language_head))
    decide("train.workers", 0, "tokens are read from memory maps")
    steps = expected_steps(draft, rows, per_second)
    long = steps >= round(_WORTH_COMPILING * per_second / batch)
    if draft.train("device") != "cpu" or method.reads_pieces or not long:
        decide("train.compile", False, "pays in long runs over rows of one length on processors; on a GPU try it")
    trained = Path(settings["encoder"]["name"]).is_dir()
    draft.decide_recipe(method, DataFacts(rows, (1, context), 1, batch, steps, shape.width, trained))
    return draft.resolved(TextRunConfig, steps * batch)


def _text_size(draft: Draft, rows: int) -> tuple[str, str]:
    """The size whose layers have a tenth as many weights as the run is to read tokens, or the nearest to it."""
    duration = Duration.parse(draft.train("duration"))
    if duration.unit == "minutes":
        spent = duration.amount * 60 * _operations(draft)
        weights = math.sqrt(spent / (_OPERATIONS_PER_WEIGHT * _TOKENS_PER_WEIGHT))
        why = f"{duration} of about {_operations(draft):.1g} operations per second"
    else:
        tokens = max(1.0, _rows_to_see(duration, rows) * draft.settings["data"]["context"])
        weights, why = tokens / _TOKENS_PER_WEIGHT, f"{tokens:,.0f} tokens to read"
    return min(SIZES, key=lambda name: abs(math.log(SIZES[name].weights / weights))), why


def _rows_to_see(duration: Duration, rows: int, per_second: float = 0.0) -> float:
    """How many rows a run reads, those of full batches where the duration is in steps."""
    each = {"minutes": 60 * per_second, "epochs": rows, "samples": 1, "steps": _TEXT_BATCH}
    return duration.amount * each.get(duration.unit, 0)


def _shape(encoder: Mapping[str, Any], size: TextShape) -> TextShape:
    """That of the encoder asked for; a directory that says none is taken for the size that suits the run."""
    name = encoder["name"]
    given = {key: encoder[key] for key in ("width", "depth", "heads") if encoder[key] != "auto"}
    return (shape_in(Path(name)) or size) if Path(name).is_dir() else shape_of(name, given)[1]


def _operations(draft: Draft) -> float:
    """A guess at the operations per second of this machine."""
    device = draft.train("device")
    return _OPERATIONS[device] * (processors() if device == "cpu" else max(1, draft.train("devices")))


def _text_batch(draft: Draft, rows: int, per_second: float, at_least: int) -> tuple[int, str]:
    """Rows of a step: as few as leave a run of two thousand steps, within bounds."""
    duration = Duration.parse(draft.train("duration"))
    wanted = math.inf if duration.unit == "steps" else _rows_to_see(duration, rows, per_second) / _TEXT_STEPS
    at_most = 1 << math.floor(math.log2(max(min(wanted, _TEXT_BATCH), at_least)))
    return batch_size(rows, at_most), f"for {rows:,} rows and {duration}"


def _micro_batches(draft: Draft, context: int, head: str) -> tuple[int, str]:
    """Into how many equal parts a step divides, where its rows have nothing to do with each other."""
    rows = draft.train("batch_size") // draft.train("devices")
    if not head or draft.train("device") != "cpu":
        return 1, "the whole batch at once"
    most = _MICRO_TOKENS[head]
    parts = next(n for n in range(1, rows + 1) if rows % n == 0 and (rows // n * context <= most or n == rows))
    return parts, f"at most {most:,} tokens at once keep memory small"


def _context(tokens: int, longest: int | None, *, causal: bool, pieces: bool) -> tuple[int, str]:
    """Tokens of a row: as usual for the task, and short enough for a hundred rows and for the encoder that is given."""
    usual, why = (
        64 if pieces else 256 if causal else 128,
        f"usual for {'short documents' if pieces else 'small networks'}",
    )
    if longest is not None and longest < usual:
        usual, why = longest, "the longest row of the encoder"
    return max(min(16, usual), min(usual, tokens // 100)), why
