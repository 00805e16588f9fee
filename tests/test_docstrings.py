"""Docstrings of public functions say what a caller needs.

The rules, for every public function of the source:

- ``Args:``, where a docstring has it, names every parameter and nothing else.
- A tensor, given or returned, has a shape: ``(B, D)``, ``()``, or the words "any shape" or "same shape".
- Every error of ours that the function itself raises is named under ``Raises:``.

For what users call or write themselves, every parameter is described, under ``Args:`` or in the text. That each loss
names its source is held to in test_losses.py. A docstring that begins with "See " points to one that says it all.
"""

import ast
import inspect
import re
from pathlib import Path

import pytest

import selfstudy
from selfstudy import errors, losses
from selfstudy.encoders import base as encoders
from selfstudy.images.embedder import Embedder
from selfstudy.methods.base import Method
from selfstudy.text.embedder import TextEmbedder

SOURCE = Path(__file__).parent.parent / "src" / "selfstudy"
ERRORS = {name for name, kind in vars(errors).items() if inspect.isclass(kind) and issubclass(kind, Exception)}
SHAPE = re.compile(r"(any|same) shapes?\b|\((\)|\.\.\.[,)]|[A-Z0-9a-z]+( [A-Zx*/+-] ?[A-Za-z0-9]*)*[,)]|world size)")
SECTION = re.compile(r"^(Args|Attributes|Returns|Yields|Raises|Source|Note):", re.MULTILINE)


def faults(tree):
    """The facts that public docstrings of a syntax tree leave out, as (line, sentence)."""
    return [
        (node.lineno, f"{node.name}: {fault}")
        for node, described in _public(tree)
        for fault in _faults(node, described)
    ]


def _public(tree):
    """Every public function and method with the docstring that describes it: for a constructor, its class's."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield node, ast.get_docstring(node) or ""
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            for method in node.body:
                if isinstance(method, ast.FunctionDef) and (
                    not method.name.startswith("_") or method.name in ("__init__", "__call__")
                ):
                    yield method, ast.get_docstring(node if method.name == "__init__" else method) or ""


def _faults(function, docstring):
    """The rules, one sentence for each that a docstring breaks."""
    if docstring.startswith("See "):
        return
    listed = _section(docstring, "Args")
    parameters = {one.arg: one.annotation for one in _parameters(function)}
    for name in listed.keys() - parameters.keys():
        yield f"Args name {name!r}, which is no parameter"
    for name, annotation in parameters.items():
        if listed and name not in listed:
            yield f"Args leave out {name!r}"
        if _is_tensor(annotation) and not SHAPE.search(listed.get(name, docstring)):
            yield f"{name!r} is a tensor without a shape"
    if _is_tensor(function.returns) and not SHAPE.search(_returned(docstring)):
        yield "returns a tensor without a shape"
    for error in sorted(_raised(function) - _section(docstring, "Raises").keys()):
        yield f"raises {error}, which is not under Raises"


def _parameters(function):
    arguments = function.args
    every = [*arguments.posonlyargs, *arguments.args, arguments.vararg, *arguments.kwonlyargs, arguments.kwarg]
    return [one for one in every if one is not None and one.arg not in ("self", "cls")]


def _section(docstring, title):
    """The entries of a section by name; empty without the section."""
    found = re.search(rf"^{title}:\n((?:    .*\n?|\n)*)", docstring, re.MULTILINE)
    entries = re.split(r"^    (?=[*\w`])", found[1], flags=re.MULTILINE)[1:] if found else []
    return {entry.partition(":")[0].strip("*` "): entry.partition(":")[2] for entry in entries}


def _returned(docstring):
    """The text that may describe a result: all text except the other sections."""
    parts = SECTION.split(docstring)
    return parts[0] + "".join(
        text for title, text in zip(parts[1::2], parts[2::2], strict=True) if title in ("Returns", "Yields")
    )


def _is_tensor(annotation):
    return annotation is not None and re.fullmatch(r"Tensor( \| None)?", ast.unparse(annotation)) is not None


def _raised(function):
    """The deliberate errors that a function raises itself, without its inner functions."""
    found, nodes = set(), list(function.body)
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            found.add(ast.unparse(node.exc.func).rpartition(".")[2])
        if not isinstance(node, ast.FunctionDef | ast.Lambda):
            nodes += ast.iter_child_nodes(node)
    return found & ERRORS


FILES = sorted(path.relative_to(SOURCE).as_posix() for path in SOURCE.rglob("*.py"))


@pytest.mark.parametrize("name", FILES)
def test_public_docstrings_list_what_there_is_with_shapes_and_errors(name):
    found = faults(ast.parse((SOURCE / name).read_text(encoding="utf-8")))
    assert not found


def _api():
    """The functions that users call or write, by their qualified names."""
    names = [name for name in selfstudy.__all__ if name not in ("losses", "methods")]
    everything = [getattr(selfstudy, name) for name in names] + [getattr(losses, name) for name in losses.__all__]
    everything += [Embedder, TextEmbedder, Method]
    everything += [
        kind for kind in vars(encoders).values() if inspect.isclass(kind) and kind.__module__ == encoders.__name__
    ]
    functions = {}
    for one in everything:
        parts = vars(one).items() if inspect.isclass(one) else [("", one)]
        for name, part in parts:
            function = inspect.unwrap(getattr(part, "__func__", part))
            if inspect.isfunction(function) and not name.startswith("_"):
                functions[function.__qualname__] = function
    return functions


API = _api()


@pytest.mark.parametrize("name", sorted(API))
def test_the_api_describes_every_parameter(name):
    docstring = inspect.getdoc(API[name])
    described = _section(docstring, "Args").keys() | set(re.findall(r"``(\w+)", docstring))
    parameters = inspect.signature(API[name]).parameters.keys() - {"self", "cls"}
    assert docstring.startswith("See ") or parameters <= described, parameters - described


def test_the_package_tells_type_checkers_that_it_has_types():
    assert (SOURCE / "py.typed").is_file()


def _faults_of(signature, docstring, body="pass"):
    lines = [f"def found{signature}:", f"    {docstring!r}", f"    {body}"]
    return [fault.removeprefix("found: ") for _, fault in faults(ast.parse("\n".join(lines)))]


@pytest.mark.parametrize(
    ("signature", "docstring", "body", "fault"),
    [
        ("(x: Tensor)", "Double ``x``.", "pass", "'x' is a tensor without a shape"),
        ("(x: Tensor | None)", "Text.\n\nArgs:\n    x: numbers.\n", "pass", "'x' is a tensor without a shape"),
        ("(n: int) -> Tensor", "A tensor.\n\nArgs:\n    n: of (B,).\n", "pass", "returns a tensor without a shape"),
        ("(a, b)", "Text.\n\nArgs:\n    a: the first.\n", "pass", "Args leave out 'b'"),
        ("(a)", "Text.\n\nArgs:\n    a: this.\n    b: that.\n", "pass", "Args name 'b', which is no parameter"),
        ("(a)", "Text.", "raise DataError(a)", "raises DataError, which is not under Raises"),
    ],
)
def test_the_rules_notice_what_is_left_out(signature, docstring, body, fault):
    assert _faults_of(signature, docstring, body) == [fault]


@pytest.mark.parametrize(
    ("signature", "docstring", "body"),
    [
        ("(x: Tensor) -> Tensor", "``x`` (B, ...) doubled.", "pass"),
        ("(x: Tensor) -> Tensor", "A tensor of any shape, doubled.", "pass"),
        ("(x: Tensor) -> Tensor", "Text.\n\nArgs:\n    x: (N, D).\n\nReturns:\n    () float32.\n", "pass"),
        ("(a, *rest, **more)", "Text.\n\nArgs:\n    a: this.\n    *rest: that.\n    **more: else.\n", "pass"),
        ("(a)", "Text.\n\nRaises:\n    DataError: there is no ``a``.\n", "raise DataError(a)"),
        ("(a)", "Text.", "raise ValueError(a)"),
        ("(x: Tensor)", "See :func:`other`.", "pass"),
    ],
)
def test_the_rules_accept_a_complete_docstring(signature, docstring, body):
    assert not _faults_of(signature, docstring, body)
