"""A run's figures on held-out text: printed, and written as scores."""

import io
import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from rich.console import Console

from selfstudy.probes.results import HELD_OUT_TEXT
from selfstudy.runs.folder import RunFolder
from selfstudy.text import held_out
from selfstudy.text.held_out import measure_held_out
from tests.methods.small_encoders import VOCABULARY, text
from tests.text.test_batches import Ids


def measured(tmp_path, layout, count=60):
    """The lines of the run's file, and the printed lines."""
    torch.manual_seed(0)
    stream = Ids(np.random.default_rng(0).integers(6, 30, count))
    stream.text_bytes = 2 * count
    store = SimpleNamespace(held_out=stream, folder=tmp_path, fingerprint="0123456789abcdef")
    corpus = SimpleNamespace(store=store, special=VOCABULARY, tokenizer=None, held_out="a fifth")
    resolved = SimpleNamespace(inputs=SimpleNamespace(context=12), config=SimpleNamespace(method={"name": "x"}))
    folder, console = RunFolder(tmp_path), Console(record=True, file=io.StringIO(), width=200)
    measure_held_out(folder, text(layout, head=True).train(), corpus, resolved, console)
    lines = folder.evaluations.read_text().splitlines() if folder.evaluations.is_file() else []
    return [json.loads(line) for line in lines], console.export_text().splitlines()


def test_a_causal_model_is_asked_for_every_token_and_its_figures_become_scores(tmp_path):
    lines, printed = measured(tmp_path, "gpt2")
    assert tuple(line["probe"] for line in lines) == HELD_OUT_TEXT
    bits, nats, perplexity, accuracy = (line["value"] for line in lines)
    assert bits == pytest.approx(nats / math.log(2) / 2) and perplexity == pytest.approx(math.exp(nats))
    assert 2 < nats < 5 and 0 <= accuracy < 20  # random weights, 30 tokens
    protocol = "every held-out token once, from at most 12 before it; held out: a fifth"
    assert lines[0]["protocol"] == protocol and lines[1]["protocol"] == f"{protocol}; 60 tokens, 120 bytes"
    assert {line["data"] for line in lines} == {"documents of digest 0123456789ab"}
    assert printed[0] == "held out 60 tokens to predict on cpu"
    assert printed[1] == (
        f"held out {bits:.3f} bits per byte · {nats:.4f} nats per token"
        f" · perplexity {perplexity:.1f} · accuracy {accuracy:.1f} %"
    )


def test_a_masked_model_is_asked_for_a_stored_set_of_tokens(tmp_path, monkeypatch):
    monkeypatch.setattr(held_out, "token_bytes", lambda tokenizer: np.full(VOCABULARY.size, 2))
    first, _ = measured(tmp_path, "modernbert")
    assert (tmp_path / "masks-10.safetensors").is_file()
    assert first[0]["protocol"] == (
        "masked: 2 of every 10 tokens hidden, always by [MASK], stored set (seed 0), 6 rows, 12 tokens predicted, none "
        "of them special; held out: a fifth"
    )
    second, _ = measured(tmp_path, "modernbert")
    assert [line["value"] for line in second[len(first) :]] == [line["value"] for line in first]


@pytest.mark.parametrize(("count", "is_enough"), [(15, False), (16, True)])
def test_a_few_tokens_measure_nothing(tmp_path, count, is_enough):
    lines, printed = measured(tmp_path, "gpt2", count)
    assert bool(lines) is is_enough
    if not is_enough:
        assert printed == ["held out 15 tokens, too few to measure anything"]
