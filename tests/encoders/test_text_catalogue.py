"""Names and sizes of text encoders, and what the description of a directory tells."""

import json

import pytest

from selfstudy.encoders.text_catalogue import NAMES, SIZES, TextShape, first_position, longest_row, shape_in, shape_of
from selfstudy.errors import UsageError

BERT = {"model_type": "bert", "hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4}
GPT2 = {"model_type": "gpt2", "n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 100}


def _described(folder, **config):
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_a_name_is_a_layout_and_a_size_whose_numbers_can_be_changed():
    assert shape_of("bert-mini", {}) == ("bert", TextShape(256, 4, 4))
    assert shape_of("gpt-tiny", {"width": 64}) == ("gpt2", TextShape(64, 2, 2))
    assert {shape_of(name, {})[1] for name in NAMES} == set(SIZES.values())


@pytest.mark.parametrize("name", ["bert", "bert-huge", "brt-mini", "mini"])
def test_another_name_is_refused_with_those_there_are(name):
    with pytest.raises(UsageError, match=f"unknown text encoder '{name}'.*\nlayouts: modernbert, .*sizes: tiny, micro"):
        shape_of(name, {})


@pytest.mark.parametrize("changes", [{"heads": 3}, {"width": 20, "heads": 4}])
def test_heads_that_do_not_divide_the_width_into_even_parts_are_refused(changes):
    with pytest.raises(UsageError, match="does not divide into . heads of an even width\nchange encoder.width or"):
        shape_of("bert-mini", changes)


def test_the_number_of_weights_is_that_of_the_layers_of_a_real_network():
    from transformers import BertConfig, BertModel

    shape = TextShape(64, 3, 4)
    config = BertConfig(hidden_size=64, num_hidden_layers=3, num_attention_heads=4, intermediate_size=256)
    layers = sum(value.numel() for value in BertModel(config).encoder.parameters() if value.dim() == 2)
    assert shape.weights == layers


def test_shape_and_longest_row_are_read_under_either_names(tmp_path):
    assert shape_in(_described(tmp_path, **BERT)) == (64, 3, 4)
    assert shape_in(_described(tmp_path, **GPT2)) == (32, 2, 2) and longest_row(tmp_path) == 100
    assert longest_row(_described(tmp_path, **BERT, max_position_embeddings=512)) == 512
    roberta = BERT | {"model_type": "roberta", "max_position_embeddings": 514, "pad_token_id": 1}
    assert longest_row(_described(tmp_path, **roberta)) == 512 and first_position("roberta", 1) == 2


@pytest.mark.parametrize("content", [None, b"", b"[]", b"{}", b'{"hidden_size": "wide"}', b"\xff"])
def test_a_description_that_does_not_say_is_no_error(tmp_path, content):
    if content is not None:
        (tmp_path / "config.json").write_bytes(content)
    assert shape_in(tmp_path) is None and longest_row(tmp_path) is None


def test_a_network_of_no_width_has_no_shape(tmp_path):
    assert shape_in(_described(tmp_path, **BERT | {"num_hidden_layers": -1})) is None
