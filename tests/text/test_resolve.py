"""Encoder, batch and steps of a run on text follow the budget and the machine."""

import json
import math

import pytest

from selfstudy import config as cfg
from selfstudy.errors import DataError, UsageError
from selfstudy.methods import method_class
from selfstudy.text import resolve
from selfstudy.text.config import TextRunConfig


def _resolve(duration="auto", method="gpt", tokens=10_000_000, found=None, **settings):
    nested = {"data": {"path": "x"}, "method": {"name": method}, "train": {"duration": duration, "device": "cpu"}}
    for key, value in settings.items():
        cfg.set_key(nested, key.replace("__", "."), value)
    facts = resolve.TextFacts(tokens, lambda context: tokens // context, found)
    config = cfg.validate(TextRunConfig, nested)
    measure = resolve.Measurements(lambda inputs, batch: ("fp32", "measured"), lambda: (True, "it works"))
    return resolve.resolve(config, facts, method_class(method), measure=measure)


@pytest.fixture(autouse=True)
def _two_processors(monkeypatch):
    monkeypatch.setattr(resolve, "processors", lambda: 2)


@pytest.mark.parametrize(
    ("duration", "size"),
    [("1 minutes", "tiny"), ("3 minutes", "micro"), ("60 minutes", "mini"), ("2000 steps", "mini"), ("auto", "small")],
)
def test_the_encoder_grows_with_the_tokens_that_can_be_read(duration, size):
    resolved = _resolve(duration)
    assert resolved.config.encoder.name == f"llama-{size}" and "encoder.name" in resolved.reasons


@pytest.mark.parametrize(
    ("found", "given", "column", "reason"),
    [
        ("Review", "auto", "Review", "a usual name of texts"),
        ("2", "auto", "2", "its texts are the longest"),
        ("text", "text", "text", None),
        (None, "auto", None, "no table"),
    ],
)
def test_the_column_of_text_is_written_down_with_its_reason(found, given, column, reason):
    resolved = _resolve("9 steps", found=found, data__column=given)
    assert resolved.config.data.column == column and resolved.reasons.get("data.column") == reason


def test_more_processors_train_a_larger_one(monkeypatch):
    monkeypatch.setattr(resolve, "processors", lambda: 64)
    assert _resolve("3 minutes").config.encoder.name == "llama-mini"


@pytest.mark.parametrize(
    ("duration", "rows"), [("1 minutes", 8), ("60 minutes", 32), ("600 minutes", 64), ("9 steps", 64), ("1 epochs", 16)]
)
def test_a_short_run_takes_small_batches(duration, rows):
    assert _resolve(duration).config.train.batch_size == rows


@pytest.mark.parametrize("duration", ["1 minutes", "600 minutes", "9 steps"])
def test_simcse_takes_enough_sentences_to_tell_one_from(duration):
    assert _resolve(duration, "simcse").config.train.batch_size == 128


@pytest.mark.parametrize(
    ("method", "rows", "parts"),
    [("gpt", 64, 8), ("gpt", 8, 1), ("gpt", 68, 17), ("bert", 64, 1), ("bert", 96, 2), ("simcse", 256, 1)],
)
def test_a_step_on_processors_takes_few_tokens_at_once_where_rows_are_apart(method, rows, parts):
    assert _resolve("2000 steps", method, train__batch_size=rows).config.train.accumulate == parts


@pytest.mark.parametrize(
    ("duration", "method", "asked", "compiled"),
    [
        ("5 minutes", "gpt", "auto", True),  # as measured
        ("100000 steps", "bert", "auto", True),
        ("4.9 minutes", "gpt", "auto", False),
        ("9 steps", "bert", "auto", False),
        ("20 minutes", "simcse", "auto", False),  # its rows differ in length
        ("9 steps", "gpt", True, True),
        ("20 minutes", "gpt", False, False),
    ],
)
def test_layers_are_compiled_where_a_run_is_long_enough(duration, method, asked, compiled):
    resolved = _resolve(duration, method, train__compile=asked)
    assert resolved.config.train.compile == compiled
    assert ("train.compile" in resolved.reasons) == (asked == "auto")


def test_the_encoder_that_is_given_decides_how_many_steps_fit():
    """Momentum and the like follow the number of steps: of a larger network fewer fit into the same minutes."""
    size = {"encoder__name": "modernbert-base"}
    few, many = (_resolve("30 minutes", "bert", train__batch_size=64, **more) for more in (size, {}))
    assert many.config.encoder.name == "modernbert-mini" and few.config.encoder.name == "modernbert-base"


def test_a_directory_is_taken_as_it_is(tmp_path):
    def rate():
        resolved = _resolve("3 minutes", "simcse", encoder__name=str(tmp_path), train__batch_size=64)
        assert resolved.config.encoder.name == str(tmp_path)
        return resolved.config.optimizer.lr

    unknown = rate()
    shape = {"hidden_size": 512, "num_hidden_layers": 4, "num_attention_heads": 8}
    (tmp_path / "config.json").write_text(json.dumps(shape))
    assert math.isclose(rate(), 1.5e-4) and not math.isclose(unknown, 1.5e-4)


def test_rows_are_no_longer_than_a_directory_has_positions_for(tmp_path):
    config = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    config |= {"max_position_embeddings": 50, "model_type": "roberta", "pad_token_id": 1}
    (tmp_path / "config.json").write_text(json.dumps(config))
    resolved = _resolve(method="bert", encoder__name=str(tmp_path))
    assert resolved.config.data.context == 48 and resolved.reasons["data.context"] == "the longest row of the encoder"


def test_the_rate_follows_the_batch_and_the_width():
    def rate(**settings):
        return _resolve(
            "5000 steps", **{"train__batch_size": 32, "encoder__name": "gpt2-mini"} | settings
        ).config.optimizer.lr

    assert math.isclose(rate(), 3e-3) and math.isclose(rate(train__batch_size=8), 1.5e-3)
    assert math.isclose(rate(encoder__width=512), 1.5e-3)


def test_what_cannot_be_is_refused():
    with pytest.raises(UsageError, match="unknown text encoder 'llama-timy'; did you mean 'llama-tiny'"):
        _resolve(encoder__name="llama-timy")
    with pytest.raises(DataError, match="found 9 rows of text, batch size 64"):
        _resolve(tokens=150, train__batch_size=64)
    with pytest.raises(UsageError, match="encoder.dropout 0: simcse tells its two views apart by dropout alone"):
        _resolve(method="simcse", encoder__dropout=0.0)
