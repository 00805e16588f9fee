"""The teacher: named copies of an encoder and a head that follow the student and stay out of its state."""

import copy

import pytest
import torch
from torch import nn

from selfstudy.nn.teacher import Teacher


class Student(nn.Module):
    def __init__(self, train_mode=True):
        super().__init__()
        torch.manual_seed(0)
        self.encoder, self.head = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)), nn.Linear(4, 2)
        self.teacher = Teacher(encoder=self.encoder, head=self.head, train_mode=train_mode)


def _changed(student):
    with torch.no_grad():
        student.encoder[0].weight.add_(1.0)
        student.head.bias.add_(1.0)
    return student


def test_the_parts_are_copies_under_their_names():
    student = Student()
    assert torch.equal(student.teacher.encoder[0].weight, student.encoder[0].weight)
    assert student.teacher.encoder is not student.encoder and student.teacher.head is not student.head
    assert not any(parameter.requires_grad for parameter in student.teacher.parameters())


def test_the_output_is_the_heads_for_the_embedding_and_has_no_gradient():
    teacher, x = Student().teacher.eval(), torch.randn(5, 3)
    output = teacher(x)
    assert torch.equal(output, teacher.head(teacher.encoder(x))) and not output.requires_grad


def test_it_follows_the_student_by_hand():
    student = Student()
    weight, bias = student.teacher.encoder[0].weight.clone(), student.teacher.head.bias.clone()
    _changed(student).teacher.follow(0.9)
    torch.testing.assert_close(student.teacher.encoder[0].weight, weight + 0.1)
    torch.testing.assert_close(student.teacher.head.bias, bias + 0.1)


@pytest.mark.parametrize("train_mode", [True, False])
def test_statistics_are_copied_in_eval_mode_only(train_mode):
    student = Student(train_mode).train()
    student.encoder(torch.randn(50, 3))
    student.teacher.follow(0.9)
    same = torch.equal(student.teacher.encoder[1].running_mean, student.encoder[1].running_mean)
    assert same != train_mode and student.teacher.encoder.training == train_mode


def test_the_state_holds_the_student_once_and_the_teacher_by_name():
    names = {name.rpartition(".")[0] for name in Student().state_dict()}
    parts = {"encoder.0", "encoder.1", "head"}
    assert names == parts | {f"teacher.module.{part}" for part in parts}


def test_the_copy_of_a_method_has_a_teacher_that_follows_the_copy():
    original = Student()
    twin = copy.deepcopy(original)
    _changed(twin).teacher.follow(0.0)
    assert torch.equal(twin.teacher.head.bias, twin.head.bias)
    assert not torch.equal(twin.teacher.head.bias, original.head.bias)
