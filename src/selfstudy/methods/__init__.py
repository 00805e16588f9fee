"""One file per method; the file name is the registry.

``available()`` lists the methods, ``method_class("simclr")`` returns a class, and so does ``selfstudy.methods.SimCLR``.
A dotted name, such as ``my_package.my_method``, loads a method from the user's own module.
"""

import ast
import re
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from selfstudy.errors import UsageError, did_you_mean
from selfstudy.methods import reads

if TYPE_CHECKING:
    from selfstudy.methods.base import Method

_NOT_METHODS = {"__init__", "base", "reads"}
FAMILIES = (
    "contrastive",
    "positives only",
    "redundancy reduction",
    "clustering",
    "distillation",
    "masked prediction",
    "classic pretext",
    "next token",
)


class MethodFacts(NamedTuple):
    """The facts about a method that a list of methods shows.

    Attributes:
        summary: the first line of its docstring.
        paper: the first arXiv number that the docstring names, or "".
        family: see :class:`selfstudy.methods.base.Method`.
        needs: ``"tokens"``, ``"labels"``, ``"text"``, or "" for images without labels and any encoder.
    """

    summary: str
    paper: str
    family: str
    needs: str


@cache
def available() -> dict[str, MethodFacts]:
    """Every method by name, in alphabetical order, read without importing torch."""
    files = sorted(path for path in Path(__file__).parent.glob("*.py") if path.stem not in _NOT_METHODS)
    return {path.stem: _facts(ast.parse(path.read_text(encoding="utf-8"))) for path in files}


def _facts(tree: ast.Module) -> MethodFacts:
    """The facts in the docstring of a method's file and in the class attributes of its classes."""
    doc = ast.get_docstring(tree) or ""
    assigned = {
        target.id: node.value
        for cls in tree.body
        if isinstance(cls, ast.ClassDef)
        for node in cls.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    family, value = assigned.get("family"), assigned.get("reads")
    paper = re.search(r"arXiv:\d{4}\.\d{4,5}", doc)
    return MethodFacts(
        doc.partition("\n")[0],
        paper.group() if paper else "",
        ast.literal_eval(family) if family else "",
        _value(value).needs if isinstance(value, ast.Call) else "",
    )


def _value(call: ast.Call) -> reads.Reads:
    """The value that ``Images(...)`` or ``Text(...)`` in a method file stands for."""
    settings = {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in call.keywords}
    value: reads.Reads = getattr(reads, ast.unparse(call.func))(**settings)
    return value


def method_class(name: str) -> "type[Method]":
    """The class behind a method's name.

    Raises:
        UsageError: the method does not exist, or the user's module defines none or several.
    """
    if name in available():
        return _only_method(f"{__name__}.{name}")
    if "." in name and find_spec(name.partition(".")[0]) is not None:
        return _only_method(name)
    raise UsageError(
        f"unknown method {name!r}{did_you_mean(name, available())}\n"
        f"known: {', '.join(available())}; 'selfstudy methods' describes them"
    )


def _only_method(module_name: str) -> "type[Method]":
    """The one ``Method`` subclass defined in a module."""
    from selfstudy.methods.base import Method

    try:
        module = import_module(module_name)
    except ModuleNotFoundError as error:
        raise UsageError(f"method module {module_name!r} cannot be imported: {error}") from error
    found = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Method) and value.__module__ == module_name
    ]
    if len(found) != 1:
        raise UsageError(f"module {module_name!r} defines {len(found)} methods; one file holds exactly one")
    return found[0]


def __getattr__(name: str) -> Any:
    """The class by the paper's name, as in ``selfstudy.methods.SimCLR``; it is imported on first use."""
    if name.startswith("_") or not name[:1].isupper():
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    classes = {cls.__name__: cls for cls in map(method_class, available())}
    if name not in classes:
        raise AttributeError(f"no method class {name!r}{did_you_mean(name, classes)}")
    return classes[name]
