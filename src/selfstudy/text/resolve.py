"""Decides every ``auto`` of a run on text, each with its reason."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from selfstudy.config import validate
from selfstudy.encoders.text_catalogue import SIZES, TextShape, longest_row, shape_in, shape_of
from selfstudy.errors import UsageError
from selfstudy.machine.processors import processors
from selfstudy.methods.base import DataFacts, Method
from selfstudy.methods.reads import Text
from selfstudy.ops.duration import Duration
from selfstudy.runs.draft import Draft, default_duration, largest_batch, require_one_batch
from selfstudy.runs.resolved import Resolved, resolved
from selfstudy.text.columns import TEXT_COLUMNS
from selfstudy.text.config import TextRunConfig
from selfstudy.views.spec import Spec

_TOKENS_TO_SEE = 30_000_000
_TEXT_BATCH, _TEXT_STEPS = 64, 2000
# Tokens of a micro-batch on processors, by the head. They bound the memory, and larger micro-batches are hardly faster
# (docs/log.md, 2026-11-26). If every token is predicted, the memory is several times as large.
_MICRO_TOKENS = {"causal": 2048, "masked": 8192}
_OPERATIONS = {"cpu": 7.5e10, "mps": 2e12, "cuda": 5e13}  # per second and processor in training; a guess
_OPERATIONS_PER_WEIGHT = 6  # and per token: two for the forward pass, four for the backward pass
# For new text, 20 are best for a given amount of computing (Hoffmann et al. 2022, arXiv:2203.15556). Short runs on
# small corpora read the same text several times, which helps less; they do better with half as many (docs/log.md,
# 2026-11-25).
_TOKENS_PER_WEIGHT = 10
# Seconds of training from which compiling the layers is worth it. Compiling takes 5 to 16 seconds; then steps take 5 to
# 29 % less time, but with rows of different lengths they take more (docs/log.md, 2026-11-26).
_WORTH_COMPILING = 300


class TextFacts(NamedTuple):
    """The facts about a corpus that the settings of a run depend on.

    Attributes:
        tokens: the number of tokens to learn from.
        rows: a function from the length of a row in tokens to the number of rows.
        column: the one column of tables that all texts come from, or None.
        tokenizer: the kind of the trained tokenizer, or the file of a given one.
        vocab_size: the number of entries asked of a trained tokenizer; None for a given one.
        cache: the folder that holds tokenised corpora.
    """

    tokens: int
    rows: Callable[[int], int]
    column: str | None = None
    tokenizer: str = "bpe"
    vocab_size: int | None = None
    cache: str = "auto"


class TextInputs(NamedTuple):
    """The decisions of a run on text: the form of its inputs, and its encoder.

    Attributes:
        context: the number of tokens T of the longest row.
        specs: the tensors that the method receives for each row.
        name: the layout and size of the encoder, or the directory of one.
        changes: the given width, depth and heads of the encoder; empty for a directory.
        dropout: the dropout rate of every layer.
        pool: the rule by which the tokens of a text become one vector.
    """

    context: int
    specs: list[Spec]
    name: str
    changes: dict[str, int]
    dropout: float
    pool: str


class Measurements(NamedTuple):
    """Measurements on this machine that decide settings; each is made only if nothing else decides.

    Attributes:
        precision: returns the precision that trains an encoder faster at a batch size, and the reason.
        compiler: returns True if torch.compile works, and the reason.
    """

    precision: Callable[[TextInputs, int], tuple[str, str]]
    compiler: Callable[[], tuple[bool, str]]


def resolve(
    config: TextRunConfig, facts: TextFacts, method: type[Method], *, measure: Measurements
) -> Resolved[TextInputs]:
    """The configuration with everything decided.

    Args:
        config: validated settings, some of them ``auto``.
        facts: facts about the corpus.
        method: the class that the configuration names.
        measure: the measurements that decide what nothing else decides.

    Raises:
        DataError: there are fewer rows than a batch has.
        EnvironmentFault: the machine does not have the device.
        UsageError: a setting of the method or of the encoder is unknown or impossible.
    """
    draft = Draft(config)
    decide = draft.decide
    reads = Text.of(method)
    _decide_corpus(draft, facts)
    longest = longest_row(Path(draft.get("encoder.name")))
    context = decide("data.context", *_context(facts.tokens, longest, reads))
    rows = facts.rows(context)
    device = draft.decide_machine()
    decide("train.duration", *default_duration(rows, _TOKENS_TO_SEE // context, "rows"))
    shape = _decide_encoder(draft, rows, reads)
    per_second = _operations(draft) / (_OPERATIONS_PER_WEIGHT * shape.weights) / context
    batch = decide("train.batch_size", *_text_batch(draft, rows, per_second, reads.smallest_batch))
    require_one_batch(rows, batch, "rows of text")
    decide("train.accumulate", *_micro_batches(draft, context, reads.head))
    decide("train.workers", 0, "tokens are read from memory maps")
    steps = draft.expected_steps(rows, per_second)
    long = steps >= round(_WORTH_COMPILING * per_second / batch)
    if device != "cpu" or reads.pieces or not long:
        decide("train.compile", False, "pays in long runs over rows of one length on processors; on a GPU try it")
    trained = Path(draft.get("encoder.name")).is_dir()
    known = DataFacts(
        inputs=rows,
        size=(1, context),
        channels=1,
        batch_size=batch,
        total_steps=steps,
        width=shape.width,
        trained=trained,
    )
    draft.decide_recipe(method, known)
    if draft.is_open("train.precision"):
        inputs = _inputs(validate(TextRunConfig, draft.settings), method)
        decide("train.precision", *measure.precision(inputs, batch))
    if draft.is_open("train.compile"):
        decide("train.compile", *measure.compiler())
    decided = validate(TextRunConfig, draft.settings)
    return resolved(decided, method, _inputs(decided, method), reasons=draft.reasons)


def _inputs(config: TextRunConfig, method: type[Method]) -> TextInputs:
    """The decisions about inputs and encoder in a configuration that has a context and an encoder."""
    encoder, context = config.encoder.model_dump(), config.data.model_dump()["context"]
    changes = {name: encoder[name] for name in ("width", "depth", "heads") if encoder[name] not in ("auto", None)}
    specs = list(method.default_views((1, context), 1))
    return TextInputs(context, specs, encoder["name"], changes, encoder["dropout"], encoder["pool"])


def _decide_corpus(draft: Draft, facts: TextFacts) -> None:
    """Record the settings by which the corpus was read and tokenised."""
    usual = facts.column is not None and facts.column.casefold() in TEXT_COLUMNS
    why = "a usual name of texts" if usual else "its texts are the longest"
    draft.decide("data.column", facts.column, why if facts.column is not None else "no table")
    of_encoder = Path(draft.get("encoder.name")).is_dir()
    draft.decide("data.tokenizer", facts.tokenizer, "the encoder's own" if of_encoder else "usual")
    size = facts.vocab_size
    draft.decide("data.vocab_size", size, "the tokenizer's own" if size is None else "for a corpus of this size")
    draft.decide("data.cache", facts.cache, "the user's cache")


def _decide_encoder(draft: Draft, rows: int, reads: Text) -> TextShape:
    """Decide layout, size and dropout of the encoder, and return its shape."""
    size, why = _text_size(draft, rows)
    layout = "llama" if reads.head == "causal" else "modernbert"
    name = draft.decide("encoder.name", f"{layout}-{size}", why)
    usual = "the method's augmentation" if reads.dropout else "usual today"
    if reads.dropout and not draft.decide("encoder.dropout", reads.dropout, usual):
        raise UsageError(
            f"encoder.dropout 0: {draft.get('method.name')} tells its two views apart by dropout alone\n"
            "set more than 0, or leave it out"
        )
    draft.decide("encoder.dropout", reads.dropout, usual)
    shape = _shape(draft.settings["encoder"], SIZES[size])
    is_directory = Path(name).is_dir()
    for key, value in shape._asdict().items():
        draft.decide(f"encoder.{key}", None if is_directory else value, "the encoder's own")
    return shape


def _text_size(draft: Draft, rows: int) -> tuple[str, str]:
    """The size whose number of weights in layers is nearest to a tenth of the tokens that the run will read."""
    duration = Duration.parse(draft.get("train.duration"))
    if duration.unit == "minutes":
        spent = duration.amount * 60 * _operations(draft)
        weights = math.sqrt(spent / (_OPERATIONS_PER_WEIGHT * _TOKENS_PER_WEIGHT))
        why = f"{duration} of about {_operations(draft):.1g} operations per second"
    else:
        tokens = max(1.0, _rows_to_see(duration, rows) * draft.get("data.context"))
        weights, why = tokens / _TOKENS_PER_WEIGHT, f"{tokens:,.0f} tokens to read"
    return min(SIZES, key=lambda name: abs(math.log(SIZES[name].weights / weights))), why


def _rows_to_see(duration: Duration, rows: int, per_second: float = 0.0) -> float:
    """The number of rows that a run reads; if the duration is in steps, with batches of 64 rows."""
    each = {"minutes": 60 * per_second, "epochs": rows, "samples": 1, "steps": _TEXT_BATCH}
    return duration.amount * each.get(duration.unit, 0)


def _shape(encoder: Mapping[str, Any], size: TextShape) -> TextShape:
    """The shape of the encoder; a directory without a known shape gets ``size``, which suits the run."""
    name = encoder["name"]
    given = {key: encoder[key] for key in ("width", "depth", "heads") if encoder[key] not in ("auto", None)}
    return (shape_in(Path(name)) or size) if Path(name).is_dir() else shape_of(name, given)[1]


def _operations(draft: Draft) -> float:
    """A guess of the operations per second of this machine."""
    device = draft.get("train.device")
    return _OPERATIONS[device] * (processors() if device == "cpu" else max(1, draft.get("train.devices")))


def _text_batch(draft: Draft, rows: int, per_second: float, at_least: int) -> tuple[int, str]:
    """The rows of a step, so that the run has about two thousand steps, within bounds; and the reason."""
    duration = Duration.parse(draft.get("train.duration"))
    wanted = math.inf if duration.unit == "steps" else _rows_to_see(duration, rows, per_second) / _TEXT_STEPS
    at_most = 1 << math.floor(math.log2(max(min(wanted, _TEXT_BATCH), at_least)))
    return largest_batch(rows, at_most), f"for {rows:,} rows and {duration}"


def _micro_batches(draft: Draft, context: int, head: str) -> tuple[int, str]:
    """The number of equal parts of a step, if its rows do not depend on each other; and the reason."""
    rows = draft.get("train.batch_size") // draft.get("train.devices")
    if not head or draft.get("train.device") != "cpu":
        return 1, "the whole batch at once"
    most = _MICRO_TOKENS[head]
    parts = next(n for n in range(1, rows + 1) if rows % n == 0 and (rows // n * context <= most or n == rows))
    return parts, f"at most {most:,} tokens at once keep memory small"


def _context(tokens: int, longest: int | None, reads: Text) -> tuple[int, str]:
    """The usual row length in tokens, but at most a hundredth of the corpus and the longest row of the encoder."""
    usual = 64 if reads.pieces else 256 if reads.head == "causal" else 128
    why = f"usual for {'short documents' if reads.pieces else 'small networks'}"
    if longest is not None and longest < usual:
        usual, why = longest, "the longest row of the encoder"
    return max(min(16, usual), min(usual, tokens // 100)), why
