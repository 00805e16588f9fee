"""Held-out text: every token is predicted once, from those before it, with rows in batches of any size."""

import numpy as np
import pytest
import torch

from selfstudy.text import held_out_figures as held_out
from selfstudy.text.batches import Wrap
from selfstudy.text.held_out_figures import causal_figures, masked_figures
from selfstudy.text.language import mask_set
from tests.methods.small_encoders import VOCABULARY, text
from tests.text.test_batches import Ids

CPU = torch.device("cpu")


def _stream(count, seed=0):
    ids = np.random.default_rng(seed).integers(6, 30, count)
    ids[count // 3] = ids[-1] = VOCABULARY.eos
    stream = Ids(ids)
    stream.text_bytes = 2 * count
    return stream


@pytest.mark.parametrize("count", [5, 12, 13, 40, 96, 97])
@pytest.mark.parametrize("across", [True, False])
@pytest.mark.parametrize("rows", [2, 64])
def test_every_token_is_predicted_once_from_its_row(count, across, rows, monkeypatch):
    monkeypatch.setattr(held_out, "_ROWS", rows)
    torch.manual_seed(0)
    encoder, stream = text("gpt2", head=True).eval(), _stream(count)
    figures = causal_figures(encoder, stream, context=12, across_documents=across, device=CPU)
    ids, losses, hits = [VOCABULARY.eos, *stream.read(0, count).tolist()], [], 0
    for position in range(1, len(ids)):
        begin = (position - 1) // 12 * 12
        row = ids[begin:position]
        if not across and VOCABULARY.eos in row:
            row = row[len(row) - 1 - row[::-1].index(VOCABULARY.eos) :]
        with torch.no_grad():
            logits = encoder.logits(encoder.states(torch.tensor([row])))[0, -1]
        losses.append(-float(logits.log_softmax(0)[ids[position]]))
        hits += int(logits.argmax() == ids[position])
    assert figures.tokens == count and figures.text_bytes == 2 * count
    assert figures.nats_per_token == pytest.approx(np.mean(losses), rel=1e-5)
    assert figures.accuracy == pytest.approx(100 * hits / count)


def test_hidden_tokens_but_no_special_ones_are_predicted_from_their_row_and_their_bytes_counted():
    torch.manual_seed(0)
    encoder, stream = text("modernbert", head=True).eval(), _stream(45)
    chosen = torch.tensor([[1, 4, 7], [2, 5, 6], [0, 3, 9], [2, 3, 8]], dtype=torch.int32)
    masks = mask_set(45, 10, 0.3, seed=1)._replace(positions=chosen)  # of these token 15 ends a document
    table = np.arange(VOCABULARY.size, dtype=np.int32)
    wrap = Wrap(VOCABULARY.cls, VOCABULARY.sep, VOCABULARY.pad)
    figures = masked_figures(encoder, stream, masks, wrap=wrap, token_bytes=table, device=CPU)
    losses, size = [], 0
    for number, positions in enumerate(masks.positions.tolist()):
        row = [VOCABULARY.cls, *stream.read(10 * number, 10).tolist(), VOCABULARY.sep]
        positions = [place for place in positions if row[place + 1] != VOCABULARY.eos]
        shown = [VOCABULARY.mask if place - 1 in positions else token for place, token in enumerate(row)]
        segments = (torch.tensor([row]) == VOCABULARY.eos).cumsum(1)
        with torch.no_grad():
            logits = encoder.logits(encoder.states(torch.tensor([shown]), segments))[0]
        losses += [-float(logits[place + 1].log_softmax(0)[row[place + 1]]) for place in positions]
        size += sum(row[place + 1] for place in positions)
    assert (figures.tokens, figures.text_bytes) == (11, size)
    assert figures.nats_per_token == pytest.approx(np.mean(losses), rel=1e-5)
