"""The check that torch can compile tries it."""

import pytest
import torch

from selfstudy.machine.compiler import compiler_problem

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RuntimeError("no C++ compiler\nlong advice"), "no C++ compiler"),
        (ImportError("x" * 300), "x" * 200),
        (OSError(), "OSError"),
    ],
)
def test_what_keeps_torch_from_compiling_is_one_short_line(monkeypatch, error, said):
    def compiled(values):
        assert values.device == CPU
        raise error

    monkeypatch.setattr(torch, "compile", lambda function: compiled)
    assert compiler_problem(CPU) == said


def test_the_answer_is_empty_if_torch_compiles(monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda function: function)
    assert compiler_problem(CPU) == ""


def test_any_other_error_is_a_bug_and_is_not_swallowed(monkeypatch):
    def compiled(values):
        raise TypeError("a bug")

    monkeypatch.setattr(torch, "compile", lambda function: compiled)
    with pytest.raises(TypeError, match="a bug"):
        compiler_problem(CPU)
