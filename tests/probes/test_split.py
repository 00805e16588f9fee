import pytest
import torch

from selfstudy.errors import DataError
from selfstudy.probes.split import require_same_classes
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


def test_classes_that_only_one_split_has_are_named():
    require_same_classes(["a", "b"], ["b", "a"])
    with pytest.raises(DataError, match="the same classes\nonly in train: a, c\nonly in test: none"):
        require_same_classes(["a", "b", "c"], ["b"])
