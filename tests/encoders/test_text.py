"""Text encoders: every layout against transformers' own forward pass, documents kept apart, pooling, names."""

import pytest
import torch
from transformers import ModernBertConfig, ModernBertForMaskedLM

from selfstudy.encoders.base import LanguageEncoder, Vocabulary
from selfstudy.encoders.text import TextEncoder, build_text_encoder, positions, segments_of
from selfstudy.encoders.text_catalogue import CAUSAL, LAYOUTS
from selfstudy.errors import FileRefusedError, UsageError

VOCABULARY = Vocabulary(40, pad=0, cls=2, sep=3, mask=4, eos=5)
CHANGES = {"width": 16, "depth": 2, "heads": 2}


def _encoder(layout, *, head=True, **options) -> TextEncoder:
    torch.manual_seed(0)
    options = {"context": 12, "changes": CHANGES} | options
    return build_text_encoder(f"{layout}-tiny", VOCABULARY, head=head, **options).eval()


def _ids(rows=3, length=12, seed=0):
    return torch.randint(6, 40, (rows, length), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_states_and_logits_are_those_of_transformers(layout):
    encoder, ids = _encoder(layout), _ids()
    wanted = encoder.network(input_ids=ids, output_hidden_states=True)
    torch.testing.assert_close(encoder.logits(encoder.states(ids)), wanted.logits)
    assert (
        isinstance(encoder, LanguageEncoder)
        and encoder.embed_dim == 16
        and encoder.context == 12
        and encoder.causal == (layout in CAUSAL)
    )


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_head_depends_on_its_own_parameters_and_no_others(layout):
    encoder = _encoder(layout)
    encoder.logits(torch.randn(2, 16)).square().sum().backward()
    reached = {id(value) for value in encoder.parameters() if value.grad is not None}
    assert reached == {id(value) for value in encoder.head_parameters()}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_document_in_a_packed_row_is_seen_as_if_it_were_alone(layout):
    encoder, ids = _encoder(layout), _ids(rows=2)
    segments = torch.tensor([[0] * 5 + [1] * 7, [0] * 12])
    states = encoder.states(ids, segments)
    torch.testing.assert_close(states[0, :5], encoder.states(ids[:1, :5])[0])
    torch.testing.assert_close(states[0, 5:], encoder.states(ids[:1, 5:])[0])
    torch.testing.assert_close(states[1], encoder.states(ids[1:])[0])


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("pool", ["mean", "cls", "last"])
def test_padding_changes_no_embedding(layout, pool):
    encoder, ids = _encoder(layout, head=False, pool=pool), _ids(rows=2)
    ids[1, 7:] = 0
    torch.testing.assert_close(encoder(ids)[1:], encoder(ids[1:, :7]))


def test_pooling_by_hand():
    states, ids = torch.arange(12.0).view(1, 4, 3), torch.tensor([[7, 8, 0, 0]])
    pooled = {pool: _encoder("bert", pool=pool).pooled(states, ids)[0].tolist() for pool in ("mean", "cls", "last")}
    assert pooled == {"mean": [1.5, 2.5, 3.5], "cls": [0, 1, 2], "last": [3, 4, 5]}


def test_a_separator_begins_a_document_and_positions_start_again():
    segments = segments_of(torch.tensor([[9, 5, 9, 9, 5, 5]]), 5)
    assert segments.tolist() == [[0, 1, 1, 1, 2, 3]] and positions(segments).tolist() == [[0, 0, 1, 2, 0, 0]]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("head", [True, False])
def test_a_directory_of_transformers_is_opened_again(layout, head, tmp_path):
    encoder = _encoder(layout, head=head)
    encoder.network.save_pretrained(tmp_path)
    again = build_text_encoder(str(tmp_path), VOCABULARY, head=head, context=12).eval()
    torch.testing.assert_close(again(_ids()), encoder(_ids()))


def test_a_directory_is_asked_for_nothing_that_it_cannot_do(tmp_path):
    _encoder("bert").network.save_pretrained(tmp_path)
    with pytest.raises(UsageError, match="data.context 13: rows of the encoder in .* end at 12"):
        build_text_encoder(str(tmp_path), VOCABULARY, head=True, context=13)
    with pytest.raises(UsageError, match="encoder.heads: the network in .* has its own"):
        build_text_encoder(str(tmp_path), VOCABULARY, head=True, context=12, changes={"heads": 4})
    with pytest.raises(UsageError, match="a tokenizer of 41 entries, the encoder in .* knows 40"):
        build_text_encoder(str(tmp_path), VOCABULARY._replace(size=41), head=True, context=12)


def test_layers_with_windows_keep_them_in_packed_rows(tmp_path):
    """Only every third layer sees a whole row, as in the published ModernBERT."""
    shape = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32, "num_hidden_layers": 3}
    ids = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3}
    for width in (4, 100):
        config = ModernBertConfig(vocab_size=40, local_attention=width, global_attn_every_n_layers=3, **shape, **ids)
        torch.manual_seed(0)
        ModernBertForMaskedLM(config).save_pretrained(tmp_path / str(width))
    row, segments = _ids(rows=1), torch.tensor([[0] * 8 + [1] * 4])
    narrow, wide = (
        build_text_encoder(str(tmp_path / str(width)), VOCABULARY, head=True, context=12).eval() for width in (4, 100)
    )
    states = narrow.states(row, segments)
    torch.testing.assert_close(states[0, :8], narrow.states(row[:, :8])[0])
    assert not torch.allclose(states, wide.states(row, segments))


def test_what_is_no_language_model_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "vit"}')
    with pytest.raises(FileRefusedError, match="holds 'vit'\nlayouts that can be used: modernbert"):
        build_text_encoder(str(tmp_path), VOCABULARY, head=True, context=12)


def test_wrong_names_and_numbers_are_explained():
    with pytest.raises(UsageError, match="unknown text encoder 'bert-mimi'; did you mean 'bert-mini'"):
        build_text_encoder("bert-mimi", VOCABULARY, head=True, context=12)
    with pytest.raises(UsageError, match="encoder.width 16 does not divide into 3 heads"):
        _encoder("bert", changes=CHANGES | {"heads": 3})
    with pytest.raises(UsageError, match="no language model's head"):
        _encoder("bert", head=False).logits(torch.zeros(1, 16))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kept", [True, False])
def test_dropout_is_on_in_training_only(layout, kept, tmp_path):
    """A new network, and one from a directory, with its saved dropout or another one."""
    encoder = _encoder(layout, dropout=0.5 if kept else 0.0)
    encoder.network.save_pretrained(tmp_path)
    again = build_text_encoder(str(tmp_path), VOCABULARY, head=True, context=12, dropout=None if kept else 0.5)
    for each in (encoder, again) if kept else (again,):
        assert torch.equal(each.eval()(_ids()), each(_ids()))
        each.train()
        assert not torch.equal(each(_ids()), each(_ids()))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_new_network_has_no_dropout_unless_it_is_asked_for(layout):
    encoder = _encoder(layout)
    without = encoder(_ids())
    assert torch.equal(encoder.train()(_ids()), without)
