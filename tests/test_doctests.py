"""The examples in the docstrings are true, and none of them is missed."""

import ast
import doctest
import importlib
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src"
WITH_EXAMPLES = [path for path in sorted(SOURCE.rglob("*.py")) if ">>> " in path.read_text(encoding="utf-8")]


def _examples(path):
    """The docstrings of a file that hold an example to be run."""
    name = ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")
    found = doctest.DocTestFinder(exclude_empty=True).find(importlib.import_module(name))
    return [test for test in found if any(doctest.SKIP not in example.options for example in test.examples)]


def _docstrings_with_examples(path):
    """The number of a file's docstrings with an example, whatever holds them."""
    documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return sum(">>> " in (ast.get_docstring(node) or "") for node in nodes if isinstance(node, documented))


@pytest.mark.parametrize("path", WITH_EXAMPLES, ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_every_example_of_a_docstring_gives_what_it_says(path):
    examples, output = _examples(path), []
    assert len(examples) == _docstrings_with_examples(path)
    for test in examples:
        doctest.DocTestRunner().run(test, out=output.append)
    assert not output, "".join(output)


def test_there_are_as_many_examples_as_ever():
    assert sum(map(_docstrings_with_examples, WITH_EXAMPLES)) >= 18
