"""Latent semantic analysis of bags of words."""

import numpy as np
import pytest
import torch
from scipy import sparse

from selfstudy.errors import DataError
from selfstudy.text import lsa
from selfstudy.text.bag_of_words import paired_cosines
from selfstudy.text.lsa import reduced, reduced_pairs

FIRST = ["a red ball", "a red ball", "a red box"]
SECOND = ["a red ball", "a blue box", "a blue box, sir"]


def bags(texts, terms):
    chance = np.random.default_rng(0)
    return sparse.csr_matrix(chance.random((texts, terms)) * (chance.random((texts, terms)) < 0.3))


def test_the_numbers_are_the_projections_on_the_first_right_singular_vectors(monkeypatch):
    monkeypatch.setattr(lsa, "_MOST", 3)
    one, other = bags(60, 30), bags(5, 30)
    found = reduced(one, other)
    directions = np.linalg.svd(one.toarray())[2][:3]
    for part, rows in zip((one, other), found, strict=True):
        assert rows.shape == (part.shape[0], 3) and rows.dtype == torch.float32
        np.testing.assert_allclose(rows.abs(), np.abs(part @ directions.T), atol=1e-2)
    assert all(torch.equal(rows, again) for rows, again in zip(found, reduced(one, other), strict=True))


@pytest.mark.parametrize("shape", [(2, 1), (4, 9), (9, 4)])
def test_few_texts_or_terms_have_all_their_directions(shape):
    one = bags(*shape) + sparse.eye(*shape, format="csr")
    rows, _ = reduced(one, one[:0])
    torch.testing.assert_close(rows @ rows.T, torch.from_numpy((one @ one.T).toarray()).float(), rtol=1e-4, atol=1e-4)


def test_of_many_texts_and_terms_a_part_gives_the_directions(monkeypatch):
    monkeypatch.setattr(lsa, "_TEXTS", 10)
    monkeypatch.setattr(lsa, "_TERMS", 5)
    one = bags(60, 30)
    shapes, svd = [], lsa.randomized_svd
    monkeypatch.setattr(lsa, "randomized_svd", lambda given, *a, **b: shapes.append(given.shape) or svd(given, *a, **b))
    rows, _ = reduced(one, one)
    assert shapes == [(10, 5)] and rows.shape == (60, 5)
    common = np.argsort(-one.getnnz(axis=0), kind="stable")[:5]
    np.testing.assert_allclose(rows.norm(dim=1), np.linalg.norm(one.toarray()[:, common], axis=1), rtol=1e-4)


def test_pairs_share_their_directions():
    first, second = reduced_pairs(FIRST, SECOND)
    assert first.shape == second.shape == (3, 6)
    cosines = torch.nn.functional.cosine_similarity(first, second)
    np.testing.assert_allclose(cosines, paired_cosines(FIRST, SECOND), atol=1e-5)
    with pytest.raises(DataError, match="1 first but 3 second sentences"):
        reduced_pairs(FIRST[:1], SECOND)
