"""Held-out loss of a language model: of every token of a text once, or of the hidden tokens of a stored mask set."""

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from selfstudy.encoders.base import LanguageEncoder
from selfstudy.encoders.text import segments_of
from selfstudy.ops.masked_tokens import special_tokens
from selfstudy.text.batches import Wrap, wrapped
from selfstudy.text.language import LanguageFigures, MaskSet, accumulate, hide
from selfstudy.text.token_store import Stream

_ROWS = 64  # rows encoded at once
_SCORES = 2**24  # logits held at once, 64 MiB in float32
Part = tuple[Tensor, Tensor]


def causal_figures(
    encoder: LanguageEncoder, stream: Stream, *, context: int, across_documents: bool, device: torch.device
) -> LanguageFigures:
    """The figures of every token of a stream, each predicted once from those before it in its row of ``context``.

    A row begins with the last token of the row before, and the first row with the token that closes a document. So
    every token is predicted from 1 to ``context`` tokens. The bytes are those of the text: tokens that close a document
    have none, but their loss counts.

    Args:
        encoder: a causal encoder with a head, in eval mode.
        stream: the held-out tokens.
        context: the length of a row, T.
        across_documents: True if tokens see documents before their own, as in training.
        device: the device of the encoder.
    """
    eos = encoder.vocabulary.eos
    assert eos is not None  # the store was built with it
    length = context * max(1, min(_ROWS, _SCORES // (context * encoder.vocabulary.size)))

    def parts() -> Iterator[Part]:
        for start in range(0, len(stream), length):
            ids = stream.read(max(start - 1, 0), min(length + (start > 0), len(stream) - max(start - 1, 0)))
            tokens = torch.from_numpy(ids if start else np.concatenate([[eos], ids]))
            whole = (len(tokens) - 1) // context * context
            for given, answers in _rows(tokens, whole, context):
                segments = None if across_documents else segments_of(given.to(device), eos)
                states = encoder.states(given.to(device), segments)
                yield _losses(encoder.logits(states.flatten(0, 1)), answers.flatten().to(device))

    with torch.inference_mode():
        return accumulate(parts(), stream.text_bytes)


def _rows(tokens: Tensor, whole: int, context: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Inputs and answers (B, T) of the whole rows, then of the rest."""
    if whole:
        yield tokens[:whole].view(-1, context), tokens[1 : whole + 1].view(-1, context)
    if whole < len(tokens) - 1:
        yield tokens[whole:-1][None], tokens[whole + 1 :][None]


def masked_figures(
    encoder: LanguageEncoder,
    stream: Stream,
    masks: MaskSet,
    *,
    wrap: Wrap,
    token_bytes: np.ndarray,
    device: torch.device,
) -> LanguageFigures:
    """The figures of the hidden tokens of a mask set; every row is put between the class token and the separator.

    Special tokens of the stream are neither hidden nor predicted, as in training.

    Args:
        encoder: a bidirectional encoder with a head, in eval mode.
        stream: the held-out tokens that the mask set belongs to.
        masks: the positions of the hidden tokens.
        wrap: the tokenizer's class token and separator.
        token_bytes: (V,) the number of UTF-8 bytes of every entry of the vocabulary.
        device: the device of the encoder.
    """
    vocabulary, length = encoder.vocabulary, masks.row_length
    assert vocabulary.mask is not None and vocabulary.eos is not None
    size, mask, eos = 0, vocabulary.mask, vocabulary.eos
    special = special_tokens(vocabulary.size, vocabulary[1:])  # (V,)

    def parts() -> Iterator[Part]:
        nonlocal size
        for first in range(0, len(masks.positions), _ROWS):
            positions = masks.positions[first : first + _ROWS]
            ids = torch.from_numpy(stream.read(first * length, len(positions) * length)).view(-1, length)
            hidden, answers = hide(ids, positions, mask)
            hidden = torch.where(special[ids], ids, hidden)
            row, which = (~special[answers]).nonzero(as_tuple=True)  # (N,) each
            answers, place = answers[row, which], positions[row, which].long() + 1
            size += int(token_bytes[answers.numpy()].sum())
            rows, original = (torch.stack([wrapped(row, wrap) for row in each]).to(device) for each in (hidden, ids))
            states = encoder.states(rows, segments_of(original, eos))
            yield _losses(encoder.logits(states[row.to(device), place.to(device)]), answers.to(device))

    with torch.inference_mode():
        found = list(parts())
    return accumulate(found, max(size, 1))


def _losses(logits: Tensor, answers: Tensor) -> Part:
    """Losses (N,) in nats and hits (N,) bool of logits (N, V) for answers (N,)."""
    return F.cross_entropy(logits.float(), answers, reduction="none"), logits.argmax(dim=1) == answers
