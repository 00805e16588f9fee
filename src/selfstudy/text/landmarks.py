"""Landmarks of a token stream: losses that a language model passes during training, known beforehand."""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from selfstudy.text.token_store import Stream, TokenStore

_TRAIN_TOKENS = 20_000_000
_HELD_OUT_TOKENS = 2_000_000
_BLOCK = 2**21  # pairs sorted at once

Counts = npt.NDArray[np.int64]


class Landmarks(NamedTuple):
    """Losses of three simple models, in nats per token.

    A loss near ``unigram`` means that the model uses no context yet. A loss below ``bigram`` means that it uses more
    than the previous token.

    Attributes:
        uniform: the loss of equal probabilities for all tokens.
        unigram: the loss of the frequencies of tokens.
        bigram: the loss of the frequencies of tokens after the previous one; None if a stream has fewer than two
            tokens.
    """

    uniform: float
    unigram: float
    bigram: float | None


def landmarks(store: TokenStore) -> Landmarks:
    """The landmarks of a store.

    ``uniform`` is the logarithm of the vocabulary size, special tokens included. ``unigram`` is the entropy of the ids
    in the training stream, ends of text included. ``bigram`` is a cross-entropy on held-out text, see
    :func:`bigram_cross_entropy`: in a small corpus most pairs occur once, so the entropy of the pairs in the training
    stream would be far too low.
    """
    return Landmarks(
        uniform=math.log(store.vocab_size),
        unigram=unigram_entropy(store.counts()),
        bigram=bigram_cross_entropy(store.train, store.held_out, store.vocab_size),
    )


def unigram_entropy(counts: Counts) -> float:
    """The entropy of the relative frequencies of tokens, in nats.

    Args:
        counts: the number of times each token occurs, (V,) int64, not all 0.
    """
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log(shares)).sum())


def bigram_cross_entropy(train: Stream, held_out: Stream, vocab_size: int) -> float | None:
    """The mean of -ln p(b | a) over the pairs ab of held-out text; None if one of the streams has no pair.

    c(ab), c(a) and c(b) are the numbers of training pairs that are ab, begin with a, and end with b. N is the number of
    all pairs, V the vocabulary size, and T(a) the number of different ids that follow a. Then

        p(b | a) = (c(ab) + T(a) p(b)) / (c(a) + T(a)),    p(b) = (c(b) + 1) / (N + V),

    which sums to one over b for every a. After an a that does not occur, it is p(b). Pairs cross ends of text. To limit
    time and memory, only the first 20 million training tokens and the first 2 million held-out tokens are used.

    Source: Witten and Bell 1991, doi:10.1109/18.87000, method C, interpolated with single counts.
    """
    if min(len(train), len(held_out)) < 2:
        return None
    seen, times = _pair_counts(train, _TRAIN_TOKENS, vocab_size)
    asked, weights = _pair_counts(held_out, _HELD_OUT_TOKENS, vocab_size)
    first, second = np.divmod(seen, vocab_size)
    begin = np.bincount(first, weights=times, minlength=vocab_size)  # (V,)
    followers = np.bincount(first, minlength=vocab_size)  # (V,)
    end = np.bincount(second, weights=times, minlength=vocab_size)  # (V,)
    a, b = np.divmod(asked, vocab_size)
    place = np.minimum(np.searchsorted(seen, asked), len(seen) - 1)
    both = np.where(seen[place] == asked, times[place], 0)
    single = (end[b] + 1) / (times.sum() + vocab_size)
    known = np.maximum(begin[a] + followers[a], 1)
    chance = np.where(begin[a] > 0, (both + followers[a] * single) / known, single)
    return float(-(weights * np.log(chance)).sum() / weights.sum())


def _pair_counts(stream: Stream, most: int, vocab_size: int) -> tuple[Counts, Counts]:
    """The distinct pairs among the first ``most`` tokens as ``first * V + second``, ascending, and their counts."""
    pairs, times = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    last = np.empty(0, dtype=np.int64)
    for block in stream.blocks(_BLOCK, most):
        ids = np.concatenate([last, block])
        new, counts = np.unique(ids[:-1] * vocab_size + ids[1:], return_counts=True)
        pairs, times = _merged(np.concatenate([pairs, new]), np.concatenate([times, counts]))
        last = ids[-1:]
    return pairs, times


def _merged(codes: Counts, times: Counts) -> tuple[Counts, Counts]:
    """The distinct codes, ascending, and the sums of their counts."""
    order = np.argsort(codes, kind="stable")  # the codes are two sorted runs, which a stable sort merges
    codes, times = codes[order], times[order]
    starts = np.flatnonzero(np.diff(codes, prepend=-1))
    return codes[starts], np.add.reduceat(times, starts) if len(starts) else times
