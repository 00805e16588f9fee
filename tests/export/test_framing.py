"""The tokenizer of an export gives the same row for a text as our own embedder."""

import pytest

from selfstudy.export.framing import framing_tokenizer, texts_that_fit
from selfstudy.text.embedder import TextEmbedder
from tests.export.text_encoders import TEXTS, saved


@pytest.fixture(params=["bert", "gpt2"])
def embedder(request, tmp_path):
    return TextEmbedder.load(saved(tmp_path / "encoder", request.param), device="cpu")


def test_a_text_becomes_the_row_of_our_embedder(embedder):
    tokenizer = framing_tokenizer(embedder)
    tokenizer.encode_special_tokens = True  # as in our own, the name of a special token is text
    assert [tokenizer.encode(text).ids for text in TEXTS] == [row.tolist() for row in embedder.first_rows(TEXTS)]


def test_a_pair_has_the_last_tokens_after_both_texts(embedder):
    tokenizer, (before, after) = framing_tokenizer(embedder), embedder.frame
    plain = [tokenizer.encode(text, add_special_tokens=False).ids for text in TEXTS[:2]]
    assert tokenizer.encode(*TEXTS[:2]).ids == [*before, *plain[0], *after, *plain[1], *after]


def test_texts_that_take_more_than_a_row_are_left_out(embedder):
    embedder.context = 5
    assert all(
        len(one.ids) <= 5 - sum(map(len, embedder.frame))
        for one in embedder.tokenizer.encode_batch(texts_that_fit(embedder), add_special_tokens=False)
    )


def test_texts_to_compare_on_fit_into_a_row_and_keep_their_ends(embedder):
    texts = texts_that_fit(embedder)
    assert len(texts) >= 4 and all(text == text.strip() for text in texts)
    lengths = {len(row) for row in embedder.first_rows(texts)}
    assert max(lengths) <= embedder.context and len(lengths) > 2
    whole = embedder.tokenizer.encode_batch(texts, add_special_tokens=False)
    assert [
        row.tolist()[len(embedder.frame[0]) :][: len(one.ids)]
        for row, one in zip(embedder.first_rows(texts), whole, strict=True)
    ] == [one.ids for one in whole]
