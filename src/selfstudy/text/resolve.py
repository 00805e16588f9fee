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
    """The facts about a corpus that the settings of a run depend on.

    Attributes:
        tokens: the number of tokens to learn from.
        rows: gives the number of rows of a length.
        column: the one column of tables that all texts come from, or None.
        tokenizer: the kind that was trained, or the file of the one that was given.
        vocab_size: entries asked of a tokenizer that was trained, or None for one that was given.
        cache: the folder that holds tokenised corpora.
    """

    tokens: int
    rows: Callable[[int], int]
    column: str | None = None
    tokenizer: str = "bpe"
    vocab_size: int | None = None
    cache: str = "auto"


class TextInputs(NamedTuple):
    """What a run on text reads and what it trains.

    Attributes:
        context: T, tokens of the longest row.
        specs: what the method receives of every row.
        name: layout and size of the encoder, or the directory of one.
        changes: its width, depth and heads; empty for a directory.
        dropout: the rate of every layer.
        pool: how a text's tokens become one vector.
    """

    context: int
    specs: list[Spec]
    name: str
    changes: dict[str, int]
    dropout: float
    pool: str


class Measurements(NamedTuple):
    """Measurements on this machine that decide settings; each is made only where nothing else decides.

    Attributes:
        precision: says which precision trains an encoder faster at a batch size, and why.
        compiler: says whether torch.compile works, and why not.
    """

    precision: Callable[[TextInputs, int], tuple[str, str]]
    compiler: Callable[[], tuple[bool, str]]


def resolve(
    config: TextRunConfig, facts: TextFacts, method: type[Method], *, measure: Measurements
) -> Resolved[TextInputs]:
    """The configuration with everything decided.

    Args:
        config: validated settings, some of them ``auto``.
        facts: about the corpus.
        method: the class that the configuration names.
        measure: see :class:`Measurements`.

    Raises:
        DataError: fewer rows than one batch.
        EnvironmentFault: a device that this machine does not have.
        UsageError: an unknown or impossible setting of the method or of the encoder.
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
    draft.decide_recipe(method, DataFacts(rows, (1, context), 1, batch, steps, shape.width, trained))
    if draft.is_open("train.precision"):
        inputs = _inputs(validate(TextRunConfig, draft.settings), method)
        decide("train.precision", *measure.precision(inputs, batch))
    if draft.is_open("train.compile"):
        decide("train.compile", *measure.compiler())
    return of_config(validate(TextRunConfig, draft.settings), method, reasons=draft.reasons)


def of_config(
    config: TextRunConfig, method: type[Method], *, reasons: dict[str, str] | None = None
) -> Resolved[TextInputs]:
    """The typed value of a configuration that is decided, such as that of an earlier run."""
    return resolved(config, method, _inputs(config, method), reasons=reasons)


def _inputs(config: TextRunConfig, method: type[Method]) -> TextInputs:
    """What a configuration reads and trains, once its context and its encoder are decided."""
    encoder, context = config.encoder.model_dump(), config.data.model_dump()["context"]
    changes = {name: encoder[name] for name in ("width", "depth", "heads") if encoder[name] not in ("auto", None)}
    specs = list(method.default_views((1, context), 1))
    return TextInputs(context, specs, encoder["name"], changes, encoder["dropout"], encoder["pool"])


def _decide_corpus(draft: Draft, facts: TextFacts) -> None:
    """Write down how the corpus was read and tokenised."""
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
            "say more, or leave it out"
        )
    draft.decide("encoder.dropout", reads.dropout, usual)
    shape = _shape(draft.settings["encoder"], SIZES[size])
    is_directory = Path(name).is_dir()
    for key, value in shape._asdict().items():
        draft.decide(f"encoder.{key}", None if is_directory else value, "the encoder's own")
    return shape


def _text_size(draft: Draft, rows: int) -> tuple[str, str]:
    """The size whose layers have a tenth as many weights as the run is to read tokens, or the nearest to it."""
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
    """How many rows a run reads, those of full batches where the duration is in steps."""
    each = {"minutes": 60 * per_second, "epochs": rows, "samples": 1, "steps": _TEXT_BATCH}
    return duration.amount * each.get(duration.unit, 0)


def _shape(encoder: Mapping[str, Any], size: TextShape) -> TextShape:
    """That of the encoder asked for; a directory that says none is taken for the size that suits the run."""
    name = encoder["name"]
    given = {key: encoder[key] for key in ("width", "depth", "heads") if encoder[key] not in ("auto", None)}
    return (shape_in(Path(name)) or size) if Path(name).is_dir() else shape_of(name, given)[1]


def _operations(draft: Draft) -> float:
    """A guess at the operations per second of this machine."""
    device = draft.get("train.device")
    return _OPERATIONS[device] * (processors() if device == "cpu" else max(1, draft.get("train.devices")))


def _text_batch(draft: Draft, rows: int, per_second: float, at_least: int) -> tuple[int, str]:
    """Rows of a step: as few as leave a run of two thousand steps, within bounds."""
    duration = Duration.parse(draft.get("train.duration"))
    wanted = math.inf if duration.unit == "steps" else _rows_to_see(duration, rows, per_second) / _TEXT_STEPS
    at_most = 1 << math.floor(math.log2(max(min(wanted, _TEXT_BATCH), at_least)))
    return largest_batch(rows, at_most), f"for {rows:,} rows and {duration}"


def _micro_batches(draft: Draft, context: int, head: str) -> tuple[int, str]:
    """Into how many equal parts a step divides, where its rows have nothing to do with each other."""
    rows = draft.get("train.batch_size") // draft.get("train.devices")
    if not head or draft.get("train.device") != "cpu":
        return 1, "the whole batch at once"
    most = _MICRO_TOKENS[head]
    parts = next(n for n in range(1, rows + 1) if rows % n == 0 and (rows // n * context <= most or n == rows))
    return parts, f"at most {most:,} tokens at once keep memory small"


def _context(tokens: int, longest: int | None, reads: Text) -> tuple[int, str]:
    """The usual row length in tokens, cut to what the corpus fills a hundred times and what the encoder can read."""
    usual = 64 if reads.pieces else 256 if reads.head == "causal" else 128
    why = f"usual for {'short documents' if reads.pieces else 'small networks'}"
    if longest is not None and longest < usual:
        usual, why = longest, "the longest row of the encoder"
    return max(min(16, usual), min(usual, tokens // 100)), why
