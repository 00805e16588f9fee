import itertools
import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from selfstudy.errors import DataError
from selfstudy.probes import DEFAULT, knn, linear, named
from selfstudy.probes.low_shot import L2, drawn_labels
from selfstudy.text import bag_of_words
from selfstudy.text.bag_of_words import NAME, BagsOfWords, paired_cosines


def tf_idf_scores(*data, probes=DEFAULT, seed=0):
    features = BagsOfWords(*data, seed=seed)
    return [score for probe in named(probes) for score in probe.measure(features)]


def bags_of_words(train, test, labels=None, *, seed=0):
    """Features whose test labels do not matter: train is tested too, so that test holds every class."""
    labels = torch.arange(len(train)) % 2 if labels is None else labels
    made_up = torch.cat([labels[:1].expand(len(test)), labels])
    return BagsOfWords(train, labels, [*test, *train], made_up, seed=seed)


def corpus(n, *, seed=0, own=0.3):
    """Sentences of common words, of which a share are words of the sentence's class."""
    draw, labels = np.random.default_rng(seed), np.arange(n) % 4
    texts = [
        " ".join(
            f"own{label}x{draw.integers(20)}" if draw.random() < own else f"word{draw.integers(40)}" for _ in range(8)
        )
        for label in labels
    ]
    return texts, torch.from_numpy(labels)


def slow_bags(train, test):
    """The definition: (1 + ln tf) x (1 + ln((1 + N) / (1 + df))), rows of length 1, terms in alphabetical order."""
    terms = []
    for text in train + test:
        words = text.lower().split()
        terms.append(words + [" ".join(pair) for pair in zip(words, words[1:], strict=False)])
    known = terms[: len(train)]
    vocabulary = sorted({term for text in known for term in text})
    idf = {term: 1 + math.log((1 + len(train)) / (1 + sum(term in text for text in known))) for term in vocabulary}
    rows = np.array([[(1 + math.log(n)) * idf[t] if (n := text.count(t)) else 0 for t in vocabulary] for text in terms])
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-300)
    return rows[: len(train)], rows[len(train) :]


def slow_knn(train, labels, test, k, temperature):
    answers = []
    for cosines in (test @ train.T).tolist():
        nearest = sorted(range(len(cosines)), key=lambda i: -cosines[i])[:k]
        votes = {}
        for i in nearest:
            votes[int(labels[i])] = votes.get(int(labels[i]), 0.0) + math.exp(cosines[i] / temperature)
        answers.append(max(votes, key=votes.get))
    return torch.tensor(answers)


def test_the_weights_are_those_of_the_definition():
    train = ["A cat sat", "a cat and a dog", "dogs bark", "cat cat dog and", "x"]
    test = ["a dog sat and sat", "nothing known here"]
    bags = bags_of_words(train, test)
    expected_train, expected_test = slow_bags(train, test)
    np.testing.assert_allclose(bags.train.toarray(), expected_train, atol=1e-12)
    np.testing.assert_allclose(bags.test[:2].toarray(), expected_test, atol=1e-12)
    assert not bags.test[1].toarray().any()


def test_the_order_of_words_counts_by_pairs_and_their_case_does_not():
    bags = bags_of_words(["dog bites man", "man bites dog", "Man BITES dog"], ["dog"])
    cosines = (bags.train @ bags.train.T).toarray()
    assert cosines[1, 2] == pytest.approx(1) and cosines[0, 1] < 0.9


def test_words_of_other_scripts_and_of_one_letter_count():
    assert bags_of_words(["I é 字 привет", "x"], ["x"]).train.shape[1] == 4 + 3 + 1


def test_a_term_of_a_single_text_counts_only_among_few_texts(monkeypatch):
    texts = ["shared one", "shared two", "shared three"]
    assert bags_of_words(texts, ["one"]).train.shape[1] == 4 + 3
    monkeypatch.setattr(bag_of_words, "_MANY", 3)
    bags = bags_of_words(texts, ["one"])
    assert bags.train.shape[1] == 1 and "min_df 2: 1 below 3 train texts, else 2; 1 terms of train" in bags.words.plain


@pytest.mark.parametrize("block", [1, 500, 2**22])
@pytest.mark.parametrize("k", [1, 7, 20, 500])
def test_neighbours_vote_as_in_the_slow_loop_in_blocks_of_any_size(k, block, monkeypatch):
    monkeypatch.setattr(bag_of_words, "_BLOCK", block)
    (train, labels), (test, _) = corpus(60, own=0.2), corpus(25, own=0.2, seed=1)
    order = bag_of_words.permutation(60, 0, 2)  # the loop takes the first among equals in the same random order
    dense, dense_test = slow_bags(train, test)
    expected = slow_knn(dense[order.numpy()].round(12), labels[order], dense_test.round(12), k, 0.07)
    assert torch.equal(knn.classify(bags_of_words(train, test, labels), k=k)[: len(test)], expected)


def test_the_first_among_equals_are_the_nearest():
    cosines = torch.tensor([[0.5, 0.9, 0.5, 0.5, 0.1], [0.0, 0.0, 0.0, 0.0, 0.0], [0.1, 0.2, 0.3, 0.4, 0.4]])
    values, places = bag_of_words._nearest(cosines, 3)
    assert places.tolist() == [[1, 0, 2], [0, 1, 2], [3, 4, 2]]
    torch.testing.assert_close(values, cosines.gather(1, places))


def test_cosines_held_at_once_do_not_grow_with_the_data(monkeypatch):
    sizes, nearest = [], bag_of_words._nearest
    monkeypatch.setattr(bag_of_words, "_nearest", lambda c, k: sizes.append(c.numel()) or nearest(c, k))
    monkeypatch.setattr(bag_of_words, "_BLOCK", 1000)
    (train, labels), (test, _) = corpus(300), corpus(50)
    knn.classify(bags_of_words(train, test, labels))
    assert max(sizes) <= 1000 and sum(sizes) == 300 * (50 + 300)


def test_a_text_without_a_known_word_is_not_given_the_class_whose_files_come_first():
    texts, labels = [f"word{i}" for i in range(400)], torch.arange(400) // 100  # sorted by class
    answers = {int(knn.classify(bags_of_words(texts, ["unknown"], labels, seed=seed), k=1)[0]) for seed in range(20)}
    assert answers == {0, 1, 2, 3}


def test_the_linear_probe_is_scikit_learns_with_the_strength_that_was_chosen():
    (train, labels), (test, test_labels) = corpus(200, own=0.15), corpus(200, seed=1, own=0.15)
    bags = BagsOfWords(train, labels, test, test_labels)
    predictions, l2 = linear.classify(bags)
    reference = (
        LogisticRegression(C=1 / l2, tol=1e-8, max_iter=1000).fit(bags.train.toarray(), labels).predict(bags.test)
    )
    assert (predictions.numpy() == reference).mean() > 0.98
    accuracy = float((predictions == test_labels).double().mean())
    assert 0.5 < accuracy < 0.95 and l2 in BagsOfWords.strengths  # a problem on which agreement means something


@pytest.mark.parametrize(("seed", "best"), [(1, 1.0), (2, 0.1), (6, 10.0)])
def test_the_strength_is_the_best_on_the_validation_tenth(seed, best):
    train, labels = corpus(150, own=0.15)
    bags = bags_of_words(train, train, labels, seed=seed)
    tenth, right = linear.validation_tenth(labels, seed).numpy(), []
    for l2 in bags.strengths:
        model = LogisticRegression(C=1 / l2, tol=1e-6, max_iter=1000).fit(bags.train[~tenth], labels[~tenth])
        right.append(model.score(bags.train[tenth], labels[tenth]))
    assert linear.classify(bags)[1] == bags.strengths[int(np.argmax(right))] == best


def test_both_probes_read_classes_from_words_and_name_their_protocol():
    (train, labels), (test, test_labels) = corpus(120), corpus(80, seed=1)
    knn, linear = tf_idf_scores(train, labels, test, test_labels, seed=3)
    assert (knn.features, knn.probe) == (NAME, "knn") and knn.accuracy > 70
    assert (linear.features, linear.probe) == (NAME, "linear") and linear.accuracy > 80
    terms = bags_of_words(train, test).train.shape[1]
    how = (
        "TF-IDF of word 1- and 2-grams (lower case, sublinear tf, min_df 1: 1 below 1,000 train texts, else 2; "
        f"{terms:,} terms of train)"
    )
    counts = "120 train / 80 test, test used once"
    assert knn.protocol == f"k-NN k=20 T=0.07 cosine, ties by seed 3, {how}, {counts}"
    assert linear.protocol == (
        f"linear: logistic regression, {how}, L2 of 7 values chosen on a held-out 10 % of train (seed 3), {counts}"
    )


def test_shuffled_labels_give_chance():
    (train, labels), (test, test_labels) = corpus(200), corpus(200, seed=1)
    shuffled = labels[torch.randperm(200, generator=torch.Generator().manual_seed(0))]
    for score in tf_idf_scores(train, shuffled, test, test_labels):
        assert 10 < score.accuracy < 40


def test_probes_come_in_the_order_asked_for_and_a_second_run_is_identical():
    (train, labels), (test, test_labels) = corpus(60), corpus(40, seed=1)
    scores = tf_idf_scores(train, labels, test, test_labels, probes=["linear", "knn"])
    assert [score.probe for score in scores] == ["linear", "knn"]
    torch.manual_seed(5)
    np.random.seed(5)
    assert tf_idf_scores(train, labels, test, test_labels, probes=["linear", "knn"]) == scores


def test_label_values_need_not_be_consecutive():
    (train, labels), (test, test_labels) = corpus(60), corpus(40, seed=1)
    scores = tf_idf_scores(train, labels * 10 + 5, test, test_labels * 10 + 5)
    assert scores == tf_idf_scores(train, labels, test, test_labels)


def test_the_test_labels_decide_nothing_but_the_accuracy():
    (train, labels), (test, test_labels) = corpus(60), corpus(40, seed=1)
    honest = tf_idf_scores(train, labels, test, test_labels)
    wrong = tf_idf_scores(train, labels, test, (test_labels + 1) % 4)
    assert all(w.accuracy <= 100 - h.accuracy and w.protocol == h.protocol for h, w in zip(honest, wrong, strict=True))


def test_one_text_for_each_class_and_fewer_than_twenty_are_enough():
    scores = tf_idf_scores(["good film", "bad film"], torch.arange(2), ["good", "bad"], torch.arange(2))
    assert [score.accuracy for score in scores] == [100.0, 100.0]
    assert "k=2 (asked for 20, the bank holds 2)" in scores[0].protocol


def test_few_labels_of_bags_are_scikit_learns_regression_on_the_texts_drawn():
    (train, labels), (test, test_labels) = corpus(200, own=0.4), corpus(100, seed=1, own=0.4)
    few = tf_idf_scores(train, labels, test, test_labels, probes=["low-shot"])[1]
    bags, found = BagsOfWords(train, labels, test, test_labels), []
    for draw in range(5):
        rows = drawn_labels(labels, 5, 0, draw).numpy()
        model = LogisticRegression(C=1 / L2, tol=1e-8, max_iter=1000).fit(bags.train[rows], labels[rows])
        found.append(100 * model.score(bags.test, test_labels))
    assert few.probe == "low-shot-5" and few.accuracy == pytest.approx(np.mean(found), abs=0.5)
    assert few.spread == pytest.approx(np.std(found, ddof=1), abs=0.5)


def test_bags_that_share_no_word_are_found_together_by_retrieval():
    train, test = ["red ball", "red box", "blue cup", "green cup"], ["red ball", "pen"]
    scores = tf_idf_scores(train, torch.tensor([0, 0, 1, 1]), test, torch.tensor([0, 1]), probes=["retrieval"])
    found = {score.probe: score.accuracy for score in scores}
    assert found["retrieval-map"] == pytest.approx(
        (100 + 50) / 2
    )  # no word of "pen" is known: half of all are its class
    assert found["retrieval-recall-1"] == pytest.approx((100 + 50) / 2)


def test_strengths_are_powers_of_ten_from_strong_to_weak_for_rows_of_length_one():
    bags = bags_of_words(["red ball", "blue cup"], ["red"])
    assert bags.strengths == tuple(10.0**power for power in range(2, -5, -1)) and bags.scale == 1


def test_texts_without_a_word_are_refused():
    with pytest.raises(DataError, match="2 train texts hold no word"):
        bags_of_words(["...", "!"], ["word"])


def test_a_missing_label_and_a_class_in_one_split_are_refused():
    with pytest.raises(DataError, match="2 texts but 3 labels"):
        tf_idf_scores(["a", "b"], torch.arange(3), ["a", "b"], torch.arange(2))
    with pytest.raises(DataError, match="only in train: 1; only in test: 2"):
        tf_idf_scores(["a", "b"], torch.tensor([0, 1]), ["a", "b"], torch.tensor([0, 2]))


def test_the_baseline_is_one_for_the_same_words_and_zero_for_none_in_common():
    first = ["a man plays a guitar", "The dog runs.", "a cat", "..."]
    second = ["guitar plays a a man", "it is raining", "the cat", "..."]
    similarities = paired_cosines(first, second)
    assert similarities.dtype == np.float64 and similarities.shape == (4,)
    assert similarities[0] == pytest.approx(1) and similarities[1] == 0 and similarities[3] == 0
    assert 0 < similarities[2] < 1


def test_the_baseline_of_a_hand_case():
    # "b" is in all 4 sentences, "a" and "c" in one each: weights 1 and 1 + ln(5 / 2)
    rare = 1 + np.log(5 / 2)
    similarities = paired_cosines(["a b", "b"], ["b c", "b"])
    np.testing.assert_allclose(similarities, [1 / (1 + rare**2), 1], atol=1e-12)


def test_the_baseline_does_not_depend_on_the_order_of_pairs():
    words = [" ".join(pair) for pair in itertools.product(["red", "blue", "old"], ["car", "house"])]
    similarities = paired_cosines(words, words[::-1])
    np.testing.assert_allclose(paired_cosines(words[::-1], words)[::-1], similarities, atol=1e-12)


def test_sentences_that_do_not_pair_or_hold_no_word_are_refused():
    with pytest.raises(DataError, match="2 first but 1 second"):
        paired_cosines(["a", "b"], ["a"])
    with pytest.raises(DataError, match="1 pairs of sentences hold no word"):
        paired_cosines(["?"], ["!"])
