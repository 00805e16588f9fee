"""One file per method; the file name is the registry.

``available()`` lists them, ``method_class("simclr")`` gives the class, and ``selfstudy.methods.SimCLR`` works as well.
A dotted name, ``my_package.my_method``, loads a method from the user's own module.
"""

import ast
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selfstudy.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from selfstudy.methods.base import Method

_NOT_METHODS = {"__init__", "base"}


@cache
def available() -> dict[str, str]:
    """Method name to the first line of its docstring, read without importing torch."""
    files = sorted(path for path in Path(__file__).parent.glob("*.py") if path.stem not in _NOT_METHODS)
    docs = {path.stem: ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) for path in files}
    return {name: (doc or "").partition("\n")[0] for name, doc in docs.items()}


def method_class(name: str) -> "type[Method]":
    """The class behind a method's name.

    Raises:
        UsageError: no such method, or the user's module holds none.
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
    """``selfstudy.methods.SimCLR``: the class by the paper's name, imported when first asked for."""
    if name.startswith("_") or not name[:1].isupper():
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    classes = {cls.__name__: cls for cls in map(method_class, available())}
    if name not in classes:
        raise AttributeError(f"no method class {name!r}{did_you_mean(name, classes)}")
    return classes[name]
