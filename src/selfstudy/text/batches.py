"""The batch of a step of text: rows of a token stream, or documents in pieces, as functions of (seed, step)."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from selfstudy.data.batches import Shard
from selfstudy.data.order import EpochOrder
from selfstudy.errors import DataError
from selfstudy.ops.devices import to_device
from selfstudy.ops.random import fold, uniform
from selfstudy.text.token_store import Stream
from selfstudy.views.spec import Draws, Spec, Tokens

_SHIFT_STREAM = 0x73686966  # keeps where an epoch's rows begin apart from every other use of the seed
_SHORTEST_PIECE = 4  # tokens; less says nothing


class Wrap(NamedTuple):
    """Ids that begin and end a wrapped row, and fill up shorter ones."""

    first: int
    last: int
    pad: int


class Rows(NamedTuple):
    """One micro-batch of text.

    Attributes:
        ids: (B, T) int64.
        keys: (S, B) int64 random keys, one for each spec and row; (0, B) where no spec draws.
        failed: always empty: what cannot be read was left out when the corpus was tokenised.
    """

    ids: Tensor
    keys: Tensor
    failed: dict[int, str]


class Cuts(Protocol):
    """Where rows are in a stream."""

    def __len__(self) -> int:
        """How many rows an epoch has."""
        ...

    def span(self, epoch: int, row: int) -> tuple[int, int]:
        """The first token of a row and how many it has."""
        ...


class Consecutive:
    """Rows of ``length`` tokens one after the other; every epoch begins elsewhere, so that none is cut alike twice."""

    def __init__(self, tokens: int, length: int, seed: int) -> None:
        self._tokens, self._length, self._seed = tokens, length, seed
        self._epoch, self._first = -1, 0

    def __len__(self) -> int:
        """How many fit wherever the epoch begins; one where there is only one."""
        return max(self._tokens // self._length - 1, int(self._tokens >= self._length))

    def span(self, epoch: int, row: int) -> tuple[int, int]:
        """The row's place in this epoch."""
        return row * self._length + self._shift(epoch), self._length

    def _shift(self, epoch: int) -> int:
        """Where an epoch's first row begins."""
        if epoch != self._epoch:  # a draw costs more than reading a row
            slack = min(self._length, self._tokens - len(self) * self._length + 1)
            self._epoch, self._first = epoch, int(fold(self._seed, _SHIFT_STREAM, epoch)) % slack
        return self._first


class Pieces:
    """Every document of a stream, cut evenly where it is longer than ``length``; the same in every epoch.

    Args:
        stream: documents, each closed by ``end``.
        length: the most tokens of a piece.
        end: the id after a document, which is in no piece.
    """

    def __init__(self, stream: Stream, length: int, end: int) -> None:
        ends, offset = [], 0
        for block in stream.blocks():
            ends.append(np.flatnonzero(block == end) + offset)
            offset += len(block)
        stops = np.concatenate(ends) if ends else np.zeros(0, np.int64)
        starts = np.concatenate([[0], stops[:-1] + 1]) if len(stops) else stops
        parts = np.maximum(1, -(-(stops - starts) // length))  # pieces of each document
        number = np.arange(parts.sum()) - np.repeat(np.cumsum(parts) - parts, parts)  # of a piece in its document
        first, size, of = (np.repeat(values, parts) for values in (starts, stops - starts, parts))
        begins = first + number * size // np.maximum(of, 1)
        lengths = first + (number + 1) * size // np.maximum(of, 1) - begins
        kept = lengths >= _SHORTEST_PIECE
        self._begins, self._lengths = begins[kept], lengths[kept]

    def __len__(self) -> int:
        """How many pieces there are."""
        return len(self._begins)

    def span(self, epoch: int, row: int) -> tuple[int, int]:
        """The piece's place."""
        return int(self._begins[row]), int(self._lengths[row])


def tokens_of(specs: Sequence[Spec]) -> Tokens:
    """The one spec that says which rows a method for text wants."""
    return next(spec for spec in specs if isinstance(spec, Tokens))


def cuts_of(stream: Stream, spec: Tokens, *, seed: int, end: int) -> Cuts:
    """Where the rows that a method wants are in a stream whose documents are closed by ``end``."""
    length = spec.length - 2 * spec.wrapped
    return Pieces(stream, length, end) if spec.pieces else Consecutive(len(stream), length, seed)


class TokenRows(Dataset[Rows]):
    """Item t is micro-batch ``t % accumulate`` of optimizer step ``t // accumulate``.

    Args:
        stream: the tokens of all documents.
        cuts: which rows it has.
        specs: what the method receives, exactly one of them ``Tokens``.
        seed: of the run.
        batch_size: rows per optimizer step, over all processes.
        wrap: the tokenizer's special ids.
        shard: see :class:`selfstudy.images.batches.TrainingData`.

    Raises:
        DataError: fewer rows than a batch has, or a batch that does not divide by the processes.
    """

    def __init__(
        self,
        stream: Stream,
        cuts: Cuts,
        specs: Sequence[Spec],
        *,
        seed: int,
        batch_size: int,
        wrap: Wrap,
        shard: Shard = Shard(),  # noqa: B008 - a frozen value
    ) -> None:
        self.stream, self.cuts, self.specs, self.shard, self._wrap = stream, cuts, specs, shard, wrap
        self._wrapped = tokens_of(specs).wrapped
        if len(cuts) < batch_size:
            raise DataError(
                f"the corpus has {len(cuts)} rows, batch size {batch_size}\n"
                f"use --batch-size {max(1, len(cuts))} or less, a smaller data.context, or more text"
            )
        self.order = EpochOrder(seed, len(cuts), batch_size)
        shard.require_parts(batch_size)

    def __getitem__(self, item: int) -> Rows:
        """The rows of micro-batch ``item``."""
        epoch, positions = self.shard.part(self.order, item)
        spans = [self.cuts.span(epoch, row) for row in positions.tolist()]
        texts = [torch.from_numpy(self.stream.read(*span)) for span in spans]
        ids = padded([wrapped(text, self._wrap) for text in texts] if self._wrapped else texts, self._wrap.pad)
        return Rows(ids, self._keys(epoch, positions), {})

    def _keys(self, epoch: int, positions: Tensor) -> Tensor:
        """(S, B) int64, or (0, B) where no spec draws: making them takes longer than reading short rows."""
        if not any(isinstance(spec, Draws) for spec in self.specs):
            return torch.zeros(0, len(positions), dtype=torch.int64)
        return fold(self.order.seed, epoch, positions[None, :], torch.arange(len(self.specs))[:, None])


def wrapped(ids: Tensor, wrap: Wrap) -> Tensor:
    """``ids`` (T,) between the tokens that begin and end a row: (T + 2,)."""
    return torch.cat([ids.new_tensor([wrap.first]), ids, ids.new_tensor([wrap.last])])


def padded(texts: Sequence[Tensor], pad: int) -> Tensor:
    """Texts of different lengths as one tensor (B, T) int64."""
    return torch.nn.utils.rnn.pad_sequence(list(texts), batch_first=True, padding_value=pad)


def render_rows(rows: Rows, specs: Sequence[Spec], device: torch.device) -> list[Tensor]:
    """What a method for text receives, in the order of the specs: ids (B, T) int64, draws (B, count) float32."""
    ids = to_device(rows.ids, device)
    return [
        to_device(uniform(rows.keys[s], spec.count), device) if isinstance(spec, Draws) else ids
        for s, spec in enumerate(specs)
    ]
