"""The batch of a step of text: rows of a token stream, or pieces of documents, as functions of (seed, step)."""

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

_SHIFT_STREAM = 0x73686966  # separates the draw of an epoch's first row from other uses of the seed
_SHORTEST_PIECE = 4  # tokens; there is nothing to learn from fewer


class Wrap(NamedTuple):
    """The ids that begin and end a wrapped row, and the one that fills up short rows."""

    first: int
    last: int
    pad: int


class Rows(NamedTuple):
    """One micro-batch of text.

    Attributes:
        ids: the token ids (B, T) int64.
        keys: the random keys (S, B) int64, one for each spec and row; (0, B) if no spec needs random numbers.
        failed: always empty, because unreadable text was left out when the corpus was tokenised.
    """

    ids: Tensor
    keys: Tensor
    failed: dict[int, str]


class Cuts(Protocol):
    """The places of rows in a stream."""

    def __len__(self) -> int:
        """The number of rows of an epoch."""
        ...

    def span(self, epoch: int, row: int) -> tuple[int, int]:
        """The place of the first token of a row, and the number of its tokens."""
        ...


class Consecutive:
    """Consecutive rows of ``length`` tokens. Every epoch begins at another token, so its rows are cut at other places.

    Args:
        tokens: the number of tokens of the stream.
        length: the number of tokens of a row.
        seed: the seed of the run.
    """

    def __init__(self, tokens: int, length: int, seed: int) -> None:
        self._tokens, self._length, self._seed = tokens, length, seed
        self._epoch, self._first = -1, 0

    def __len__(self) -> int:
        """The number of rows that fit for every beginning of an epoch, at least one if the stream holds a row."""
        return max(self._tokens // self._length - 1, int(self._tokens >= self._length))

    def span(self, epoch: int, row: int) -> tuple[int, int]:
        """The place of the row's first token in this epoch, and the number of its tokens."""
        return row * self._length + self._shift(epoch), self._length

    def _shift(self, epoch: int) -> int:
        """The place at which the first row of an epoch begins."""
        if epoch != self._epoch:  # a draw costs more than reading a row
            slack = min(self._length, self._tokens - len(self) * self._length + 1)
            self._epoch, self._first = epoch, int(fold(self._seed, _SHIFT_STREAM, epoch)) % slack
        return self._first


class Pieces:
    """The documents of a stream; longer ones are cut into even pieces, which are the same in every epoch.

    Args:
        stream: the documents, each with the id ``end`` after it.
        length: the largest number of tokens of a piece.
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
        """The number of pieces."""
        return len(self._begins)

    def span(self, epoch: int, row: int) -> tuple[int, int]:
        """The place of the piece's first token, and the number of its tokens."""
        return int(self._begins[row]), int(self._lengths[row])


def tokens_of(specs: Sequence[Spec]) -> Tokens:
    """The one spec that describes the rows of a method for text."""
    return next(spec for spec in specs if isinstance(spec, Tokens))


def cuts_of(stream: Stream, spec: Tokens, *, seed: int, end: int) -> Cuts:
    """The places of a method's rows in a stream.

    Args:
        stream: the tokens of all documents.
        spec: the description of the rows.
        seed: the seed of the run.
        end: the id after each document.
    """
    length = spec.length - 2 * spec.wrapped
    return Pieces(stream, length, end) if spec.pieces else Consecutive(len(stream), length, seed)


class TokenRows(Dataset[Rows]):
    """Item t is micro-batch ``t % accumulate`` of optimizer step ``t // accumulate``.

    Args:
        stream: the tokens of all documents.
        cuts: the places of its rows.
        specs: the tensors that the method receives; exactly one spec is ``Tokens``.
        seed: the seed of the run.
        batch_size: the number of rows per optimizer step, over all processes.
        wrap: the special ids of the tokenizer.
        shard: the part of each batch that this process takes.

    Raises:
        DataError: there are fewer rows than a batch has.
        UsageError: the batch size does not divide by the number of processes and micro-batches.
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
        """The keys (S, B) int64; (0, B) if no spec uses them, since making them is slower than reading short rows."""
        if not any(isinstance(spec, Draws) for spec in self.specs):
            return torch.zeros(0, len(positions), dtype=torch.int64)
        return fold(self.order.seed, epoch, positions[None, :], torch.arange(len(self.specs))[:, None])


def wrapped(ids: Tensor, wrap: Wrap) -> Tensor:
    """The row (T + 2,) of ``ids`` (T,) between the ids that begin and end a row."""
    return torch.cat([ids.new_tensor([wrap.first]), ids, ids.new_tensor([wrap.last])])


def padded(texts: Sequence[Tensor], pad: int) -> Tensor:
    """Texts of different lengths as one tensor (B, T) int64."""
    return torch.nn.utils.rnn.pad_sequence(list(texts), batch_first=True, padding_value=pad)


def render_rows(rows: Rows, specs: Sequence[Spec], device: torch.device) -> list[Tensor]:
    """The inputs of a method for text, in the order of the specs: ids (B, T) int64, draws (B, count) float32."""
    ids = to_device(rows.ids, device)
    return [
        to_device(uniform(rows.keys[s], spec.count), device) if isinstance(spec, Draws) else ids
        for s, spec in enumerate(specs)
    ]
