"""Rows of tokens: functions of (seed, step), full or padded, the same however they are shared out."""

import itertools

import numpy as np
import pytest
import torch

from selfstudy.data.batches import Shard, micro_batches
from selfstudy.errors import DataError
from selfstudy.text.batches import Consecutive, Pieces, TokenRows, Wrap, cuts_of, padded, render_rows
from selfstudy.views.spec import Draws, Tokens

WRAP = Wrap(first=2, last=3, pad=0)
END = 5


class Ids:
    """A stream in memory."""

    def __init__(self, ids):
        self._ids = np.asarray(ids, dtype=np.int64)

    def __len__(self):
        return len(self._ids)

    def read(self, start, count):
        assert 0 <= start and start + count <= len(self._ids)
        return self._ids[start : start + count].copy()

    def blocks(self, length=7):
        return (self._ids[start : start + length] for start in range(0, len(self._ids), length))


STREAM = Ids(np.arange(1000) + 10)


def _data(specs=(Tokens(10), Draws(3)), *, stream=STREAM, seed=1, batch=8, shard=Shard()):  # noqa: B008
    cuts = cuts_of(stream, specs[0], seed=seed, end=END)
    return TokenRows(stream, cuts, specs, seed=seed, batch_size=batch, wrap=WRAP, shard=shard)


def test_an_epoch_shows_consecutive_rows_once_each_and_begins_elsewhere_than_the_last():
    data = _data()
    steps = data.order.steps_per_epoch
    epochs = [torch.cat([data[e * steps + step].ids for step in range(steps)]) for e in range(5)]
    for rows in epochs:
        assert (rows.diff(dim=1) == 1).all() and len(rows[:, 0].unique()) == len(rows)
        assert len((rows[:, 0] % 10).unique()) == 1
    assert len({int(rows[0, 0]) % 10 for rows in epochs}) > 1


def test_a_stream_of_one_row_has_one_row_and_reads_nothing_beyond():
    for tokens in (10, 11, 19, 20, 25):
        cuts = Consecutive(tokens, 10, seed=3)
        spans = [cuts.span(epoch, row) for epoch in range(50) for row in range(len(cuts))]
        assert len(cuts) == max(tokens // 10 - 1, 1)
        assert all(start >= 0 and start + count <= tokens for start, count in spans)
    assert len(Consecutive(9, 10, seed=3)) == 0


def slow_pieces(ids, length):
    """Documents cut one by one."""
    pieces, document = [], []
    for token in ids:
        if token != END:
            document.append(token)
            continue
        parts = max(1, -(-len(document) // length))
        edges = [number * len(document) // parts for number in range(parts + 1)]
        pieces += [document[a:b] for a, b in itertools.pairwise(edges) if b - a >= 4]
        document = []
    return pieces


@pytest.mark.parametrize("seed", range(5))
def test_pieces_are_documents_cut_evenly(seed):
    ids = np.random.default_rng(seed).integers(6, 30, 400)
    ids[np.random.default_rng(seed + 100).integers(0, 400, 25)] = END
    ids[-1] = END
    cuts = Pieces(Ids(ids), 9, END)
    found = [ids[start : start + count].tolist() for start, count in (cuts.span(0, row) for row in range(len(cuts)))]
    assert found == slow_pieces(ids.tolist(), 9) and max(map(len, found)) <= 9


def test_wrapped_pieces_are_padded_to_the_longest_of_their_batch():
    stream = Ids([11, 12, 13, 14, END, 21, 22, 23, 24, 25, 26, END, 31, END])
    data = _data((Tokens(10, pieces=True, wrapped=True),), stream=stream, batch=2)
    rows = {tuple(row.tolist()) for row in data[0].ids}
    assert rows == {(2, 11, 12, 13, 14, 3, 0, 0), (2, 21, 22, 23, 24, 25, 26, 3)}


def test_wrapped_rows_have_the_length_asked_for():
    ids = _data((Tokens(10, wrapped=True), Draws(2)))[0].ids
    assert ids.shape == (8, 10) and (ids[:, 0] == 2).all() and (ids[:, -1] == 3).all()


def test_the_batch_of_a_step_is_the_same_reached_or_jumped_to_and_with_workers(tmp_path):
    stream = micro_batches(_data(), first_step=0, workers=0)
    reached = [next(stream) for _ in range(5)][4]
    assert torch.equal(reached.ids, _data()[4].ids) and torch.equal(reached.keys, _data()[4].keys)


def test_rows_have_keys_only_where_something_is_drawn():
    assert _data((Tokens(10),))[0].keys.shape == (0, 8)
    assert _data((Tokens(10), Draws(2)))[0].keys.shape == (2, 8)


def test_two_processes_and_two_micro_batches_hold_the_rows_of_one():
    whole = _data()[3]
    halves = [_data(shard=Shard(rank, 2))[3] for rank in (0, 1)]
    assert torch.equal(torch.cat([half.ids for half in halves]), whole.ids)
    assert torch.equal(torch.cat([half.keys for half in halves], dim=1), whole.keys)
    micro = _data(shard=Shard(accumulate=2))
    assert torch.equal(torch.cat([micro[6].ids, micro[7].ids]), whole.ids)


def test_what_the_method_receives_is_in_the_order_of_the_specs():
    data = _data((Tokens(10), Draws(3)))
    ids, draws = render_rows(data[0], data.specs, torch.device("cpu"))
    assert ids.shape == (8, 10) and draws.shape == (8, 3) and 0 <= float(draws.min()) <= float(draws.max()) < 1


def test_fewer_rows_than_a_batch_are_refused():
    with pytest.raises(DataError, match="the corpus has 99 rows, batch size 100\nuse --batch-size 99 or less"):
        _data(batch=100)


def test_padding_by_hand():
    assert padded([torch.tensor([1, 2]), torch.tensor([3])], 9).tolist() == [[1, 2], [3, 9]]
