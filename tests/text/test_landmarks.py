import math
import random
from collections import Counter

import numpy as np
import pytest
from tokenizers import Tokenizer, models

from selfstudy.text import landmarks as module
from selfstudy.text.documents import Document
from selfstudy.text.landmarks import bigram_cross_entropy, landmarks, unigram_entropy
from selfstudy.text.token_build import build_store

LETTERS = "abcdefgh"
VOCABULARY = ["[EOS]", *LETTERS]


def _store(folder, train, held_out):
    """A store of texts whose tokens are letters: ``[EOS]`` is 0, ``a`` 1, ``b`` 2, ..."""
    tokenizer = Tokenizer(models.BPE({token: number for number, token in enumerate(VOCABULARY)}, []))
    documents, apart = ([Document(str(n), text) for n, text in enumerate(texts)] for texts in (train, held_out))
    return build_store(documents, tokenizer, folder, held_out_documents=apart, fingerprint="", shard_tokens=50)


def _random_texts(seed, documents):
    draw = random.Random(seed)
    return ["".join(draw.choices(LETTERS, weights=[9, 7, 5, 3, 2, 1, 1, seed % 2], k=40)) for _ in range(documents)]


def _slow_bigram(train, held_out, size):
    """Equation by equation, pair by pair."""
    pairs = Counter(zip(train, train[1:], strict=False))
    total, steps = 0.0, 0

    def single(b):
        return (sum(count for (_, end), count in pairs.items() if end == b) + 1) / (len(train) - 1 + size)

    def chance(a, b):
        begin = sum(count for (start, _), count in pairs.items() if start == a)
        followers = sum(1 for start, _ in pairs if start == a)
        return (pairs[a, b] + followers * single(b)) / (begin + followers) if begin else single(b)

    for a in range(size):
        assert sum(chance(a, b) for b in range(size)) == pytest.approx(1)
    for a, b in zip(held_out, held_out[1:], strict=False):
        total, steps = total - math.log(chance(a, b)), steps + 1
    return total / steps


def _all(stream):
    return stream.read(0, len(stream)).tolist()


def test_entropy_by_hand():
    assert unigram_entropy(np.array([4, 2, 0, 1, 1])) == pytest.approx(1.75 * math.log(2))
    assert unigram_entropy(np.array([0, 7])) == 0
    assert unigram_entropy(np.full(50, 3)) == pytest.approx(math.log(50))


def test_landmarks_by_hand(tmp_path):
    # Training tokens: a b a b EOS; pairs ab ba ab bE. Held out: a b EOS; pairs ab bE.
    found = landmarks(_store(tmp_path, ["abab"], ["ab"]))
    assert found.uniform == pytest.approx(math.log(9))
    assert found.unigram == pytest.approx(-0.8 * math.log(0.4) - 0.2 * math.log(0.2))
    b, end = 3 / 13, 2 / 13  # (2 + 1) / (4 + 9) and (1 + 1) / (4 + 9)
    after_a, after_b = (2 + 1 * b) / (2 + 1), (1 + 2 * end) / (2 + 2)
    assert found.bigram == pytest.approx(-(math.log(after_a) + math.log(after_b)) / 2)


@pytest.mark.parametrize("seed", range(4))
def test_the_bigram_landmark_is_the_slow_loops(tmp_path, seed):
    store = _store(tmp_path, _random_texts(seed, 12), _random_texts(seed + 1, 5))
    slow = _slow_bigram(_all(store.train), _all(store.held_out), 9)
    assert bigram_cross_entropy(store.train, store.held_out, 9) == pytest.approx(slow, rel=1e-12)


def test_counting_in_blocks_and_of_a_beginning_changes_nothing_else(tmp_path, monkeypatch):
    store = _store(tmp_path, _random_texts(0, 12), _random_texts(1, 5))
    monkeypatch.setattr(module, "_BLOCK", 7)
    assert landmarks(store).bigram == pytest.approx(_slow_bigram(_all(store.train), _all(store.held_out), 9))
    monkeypatch.setattr(module, "_TRAIN_TOKENS", 101)
    monkeypatch.setattr(module, "_HELD_OUT_TOKENS", 30)
    slow = _slow_bigram(_all(store.train)[:101], _all(store.held_out)[:30], 9)
    assert landmarks(store).bigram == pytest.approx(slow)


def test_text_without_order_has_a_bigram_landmark_at_its_unigram(tmp_path):
    found = landmarks(_store(tmp_path, _random_texts(1, 200), _random_texts(3, 200)))
    assert found.bigram == pytest.approx(found.unigram, abs=0.02)
    assert found.unigram < found.uniform - 0.3


def test_text_with_order_has_a_far_lower_bigram_landmark(tmp_path):
    found = landmarks(_store(tmp_path, ["abcdefgh" * 40] * 3, ["abcdefgh" * 10]))
    assert found.bigram < 0.2 < found.unigram


def test_a_stream_without_a_pair_has_no_bigram_landmark(tmp_path):
    assert landmarks(_store(tmp_path / "a", ["abc"], ["z"])).bigram is None
    assert landmarks(_store(tmp_path / "b", ["z"], ["abc"])).bigram is None
