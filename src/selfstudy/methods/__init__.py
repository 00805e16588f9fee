"""One file per method; the file name is the registry.

``available()`` lists the methods, ``method_class("simclr")`` returns a class, and so does ``selfstudy.methods.SimCLR``.
Other packages add methods by entry points of the group ``selfstudy.methods``, which name a class or its module.
A dotted name, such as ``my_package.my_method``, loads a method from the user's own module.
"""

import ast
import re
import sys
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from selfstudy.errors import UsageError, did_you_mean, first_line
from selfstudy.methods import reads
from selfstudy.plugins import OWN, Entry, found, loaded

if TYPE_CHECKING:
    from selfstudy.methods.base import Method

_NOT_METHODS = {"__init__", "base", "reads", "solved"}
FAMILIES = (
    "contrastive",
    "positives only",
    "redundancy reduction",
    "clustering",
    "distillation",
    "masked prediction",
    "classic pretext",
    "next token",
    "no gradient",
)


class MethodFacts(NamedTuple):
    """The facts about a method that a list of methods shows.

    Attributes:
        summary: the first line of its docstring.
        paper: the first arXiv number that the docstring names, or "".
        family: see :class:`selfstudy.methods.base.Method`.
        needs: ``"tokens"``, ``"labels"``, ``"text"``, or "" for images without labels and any encoder.
        origin: the package that it comes from.
    """

    summary: str
    paper: str
    family: str
    needs: str
    origin: str = OWN


@cache
def entries() -> dict[str, Entry]:
    """Every method by name, ours in alphabetical order and then those of other packages; imports none of them."""
    files = sorted(path for path in Path(__file__).parent.glob("*.py") if path.stem not in _NOT_METHODS)
    return found(__name__, {path.stem: f"{__name__}.{path.stem}" for path in files})


@cache
def available() -> dict[str, MethodFacts]:
    """The facts about every method by name, ours first and read without importing torch.

    Methods of other packages are imported; one that cannot be imported is left out with a warning.
    """
    ours = {name: _facts(Path(__file__).parent / f"{name}.py") for name in _own()}
    others = {name: entry for name, entry in entries().items() if name not in ours}
    return ours | {name: _facts_of(cls, others[name]) for name, cls in loaded(others, _method_of).items()}


def _own() -> list[str]:
    return [name for name, entry in entries().items() if entry.origin == OWN]


def _facts_of(cls: "type[Method]", entry: Entry) -> MethodFacts:
    """The facts about an imported method."""
    doc = sys.modules[cls.__module__].__doc__ or cls.__doc__ or ""
    return MethodFacts(doc.strip().partition("\n")[0], _paper(doc), cls.family, cls.reads.needs, entry.origin)


def _paper(doc: str) -> str:
    """The first arXiv number in a docstring, or ""."""
    paper = re.search(r"arXiv:\d{4}\.\d{4,5}", doc)
    return paper.group() if paper else ""


def _facts(file: Path) -> MethodFacts:
    """The facts in the docstring of a method's file and in the class attributes of its classes."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
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
    return MethodFacts(
        doc.partition("\n")[0],
        _paper(doc),
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
        UsageError: the method does not exist, or the user's module cannot be imported or defines none or several.
    """
    known = entries()
    if name in known:
        return _method_of(known[name])
    if "." in name and find_spec(name.partition(".")[0]) is not None:
        try:
            module = import_module(name)
        except Exception as error:  # the user's code may raise anything while it is imported
            reason = f"{type(error).__name__}: {first_line(error)}"
            raise UsageError(f"method module {name!r} cannot be imported: {reason}") from error
        return _only_method(module)
    raise UsageError(
        f"unknown method {name!r}{did_you_mean(name, known)}\n"
        f"known: {', '.join(known)}; 'selfstudy methods' describes them"
    )


def _method_of(entry: Entry) -> "type[Method]":
    """The class behind an entry, which names the class or the module that defines it."""
    from selfstudy.methods.base import Method

    thing = entry.load()
    if isinstance(thing, ModuleType):
        return _only_method(thing)
    if not (isinstance(thing, type) and issubclass(thing, Method)):
        raise UsageError(
            f"method {entry.name!r} of {entry.origin}: {entry.target} is not a Method\n"
            "name a subclass of selfstudy.methods.base.Method, or the module that defines one"
        )
    return thing


def _only_method(module: ModuleType) -> "type[Method]":
    """The one ``Method`` subclass defined in a module."""
    from selfstudy.methods.base import Method

    classes = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Method) and value.__module__ == module.__name__
    ]
    if len(classes) != 1:
        raise UsageError(f"module {module.__name__!r} defines {len(classes)} methods; one file holds exactly one")
    return classes[0]


def __getattr__(name: str) -> Any:
    """The class by the paper's name, as in ``selfstudy.methods.SimCLR``; it is imported on first use."""
    if name.startswith("_") or not name[:1].isupper():
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    classes = {cls.__name__: cls for cls in map(method_class, _own())}
    if name not in classes:
        raise AttributeError(f"no method class {name!r}{did_you_mean(name, classes)}")
    return classes[name]
