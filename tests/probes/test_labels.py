import pytest
import torch

from selfstudy.errors import DataError
from selfstudy.probes.labels import check_labels


def refusal(train, test, names=None):
    with pytest.raises(DataError) as caught:
        check_labels(torch.tensor(train, dtype=torch.int64), torch.tensor(test, dtype=torch.int64), names)
    return str(caught.value).splitlines()


def test_good_labels_pass():
    check_labels(torch.tensor([0, 1, 2, 2]), torch.tensor([2, 1, 0]))


def test_classes_of_one_split_only_are_listed_on_both_sides():
    assert refusal([0, 1, 2], [1, 2, 3], ["cat", "dog", "eel", "fox"]) == [
        "train and test hold different classes: only in train: cat; only in test: fox",
        "every class must be in both splits",
        "check the folder names, or take both splits from the same data",
    ]
    assert refusal([0, 1, 2], [1, 0])[0].endswith("only in train: 2; only in test: none")


def test_a_long_list_of_classes_is_cut():
    assert "only in train: 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 and 88 more;" in refusal(list(range(100)), [0, 1])[0]


def test_one_class_is_refused():
    assert refusal([4, 4, 4], [4, 4]) == [
        "all labels are the same class (4): every answer would be right",
        "an accuracy needs at least 2 classes",
        "use labelled examples of several classes",
    ]


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        ([1], [0, 1], "the train split holds 1 labelled example"),
        ([0, 1], [], "the test split holds 0 labelled examples"),
    ],
)
def test_fewer_than_two_examples_are_refused(train, test, message):
    assert refusal(train, test) == [
        message,
        "an evaluation needs at least 2 in each split",
        "give more labelled examples",
    ]


def test_unlabelled_examples_are_not_taken_for_a_class():
    assert refusal([0, 1, -1, -1], [0, 1]) == [
        "2 of 4 train labels are below 0, which usually marks unlabelled examples",
        "labels must be 0 or more",
        "leave the unlabelled examples out",
    ]
