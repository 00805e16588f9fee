import pytest
import torch

from selfstudy.errors import DataError
from selfstudy.probes.split import MOST_TEST, MOST_TRAIN, require_same_classes, sample, sample_protocol, small_bank
from selfstudy.probes.split import split_test_fifth as fifth


@pytest.mark.parametrize(("members", "spared"), [(2, 1), (9, 1), (10, 2), (14, 2), (15, 3)])
def test_a_fifth_of_every_class_is_for_the_test_and_at_least_one(members, spared):
    labels = torch.tensor([0] * members + [1] * 40)[torch.randperm(members + 40)]
    train, test = fifth(labels)
    assert torch.bincount(labels[test]).tolist() == [spared, 8]
    assert torch.cat([train, test]).sort().values.tolist() == list(range(members + 40))
    assert train.tolist() == sorted(train.tolist()) and test.tolist() == sorted(test.tolist())


def test_the_split_is_the_same_every_time_and_not_the_first_of_each_class():
    labels = torch.arange(100) % 2
    torch.manual_seed(3)
    first = fifth(labels)[1]
    assert torch.equal(first, fifth(labels)[1]) and first.max() > 60


def test_a_small_bank_and_its_queries_have_the_same_share_of_every_class_and_no_example_in_common():
    labels = (torch.arange(10_000) % 10 == 0).long() + 5  # 9,000 of class 5, 1,000 of class 6
    bank, queries = small_bank(labels, 2_500)
    assert torch.bincount(labels[bank])[5:].tolist() == [1_800, 200]
    assert torch.bincount(labels[queries])[5:].tolist() == [450, 50]
    assert not set(bank.tolist()) & set(queries.tolist()) and bank.tolist() == sorted(bank.tolist())
    assert all(map(torch.equal, small_bank(labels, 2_500), (bank, queries)))


def test_a_small_bank_takes_all_of_few_examples_and_leaves_out_what_cannot_be_asked():
    labels = torch.tensor([0, 0, 1, 1, 2, -1, -1])
    bank, queries = small_bank(labels, 100)
    assert labels[bank].tolist() == labels[queries].tolist() == [0, 1]


def test_a_small_bank_of_many_classes_holds_some_of_them():
    labels = torch.arange(1_000).repeat_interleave(3)
    bank, queries = small_bank(labels, 100)
    assert len(bank) == len(queries) == 50 == len(labels[bank].unique())
    assert torch.equal(labels[bank], labels[queries])


@pytest.mark.parametrize("labels", [[], [0, 1], [0, 0, 0], [0, 0, -1, -1], [0, 0, 1]])
def test_a_bank_without_two_classes_of_two_is_refused(labels):
    with pytest.raises(DataError, match=f"two classes with two examples each, and {len(labels)} labelled examples"):
        small_bank(torch.tensor(labels, dtype=torch.int64), 100)


def test_classes_that_only_one_split_has_are_named():
    require_same_classes(["a", "b"], ["b", "a"])
    with pytest.raises(DataError, match="the same classes\nonly in train: a, c\nonly in test: none"):
        require_same_classes(["a", "b", "c"], ["b"])


def test_a_sample_holds_the_same_share_of_every_class_and_at_least_one():
    labels = torch.tensor([0] * 600 + [1] * 300 + [2] * 99 + [3])
    chosen = sample(labels, 100)
    assert labels[chosen].bincount().tolist() == [60, 30, 9, 1] and torch.equal(chosen, chosen.unique())
    assert torch.equal(chosen, sample(labels, 100)) and not torch.equal(chosen[:60], torch.arange(60))


def test_data_below_the_bound_are_taken_whole():
    assert sample(torch.tensor([1, 0, 1]), 3).tolist() == [0, 1, 2]
    assert sample_protocol((3, 3), (2, 2)) == ""


def test_the_bounds_leave_the_usual_splits_whole():
    assert (MOST_TRAIN, MOST_TEST) == (60_000, 10_000)
