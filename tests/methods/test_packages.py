"""Methods of other packages: found by name and listed with their origin; ours keep their names."""

import sys

import pytest
from typer.testing import CliRunner

from selfstudy import methods
from selfstudy.cli import app
from selfstudy.errors import UsageError
from selfstudy.methods import available, entries, method_class
from selfstudy.methods.simclr import SimCLR
from tests.installed import install

CODE = '''"""Sample: a method that learns nothing (Nobody 2026, arXiv:2600.00000)."""

from selfstudy.methods.base import Images, Method


class SimCLR(Method):
    """It has the name of a class of ours."""

    family = "contrastive"
    reads = Images(labels=True)


other = 3
'''


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Install the module ``sample_methods`` as methods, by name."""
    folder = tmp_path / "installed"

    def make(**targets):
        install(folder, "sample-methods", "0.3", {"selfstudy.methods": targets})
        (folder / "sample_methods.py").write_text(CODE, encoding="utf-8")
        monkeypatch.syspath_prepend(folder)
        _forget()

    yield make
    monkeypatch.undo()
    _forget()


def _forget():
    entries.cache_clear()
    available.cache_clear()


@pytest.mark.parametrize("target", ["sample_methods", "sample_methods:SimCLR"])
def test_a_method_of_another_package_is_found_by_its_name_and_listed_with_its_origin(package, target):
    package(sample=target)
    assert method_class("sample").__module__ == "sample_methods"
    facts = available()["sample"]
    assert facts.summary == "Sample: a method that learns nothing (Nobody 2026, arXiv:2600.00000)."
    assert (facts.paper, facts.family) == ("arXiv:2600.00000", "contrastive")
    assert (facts.needs, facts.origin, available()["simclr"].origin) == ("labels", "sample-methods 0.3", "selfstudy")
    output = CliRunner().invoke(app, ["methods"]).output
    (line,) = [line for line in output.splitlines() if line.startswith("  sample ")]
    assert line.endswith(" · needs labels · from sample-methods 0.3") and output.count(" · from ") == 1


def test_our_names_and_our_classes_stay_ours(package, capsys):
    package(sample="sample_methods", simclr="sample_methods")
    assert method_class("simclr") is SimCLR and methods.SimCLR is SimCLR
    text = "selfstudy.methods 'simclr' of sample-methods 0.3 is not used: the name is taken by selfstudy"
    assert capsys.readouterr().err.count(text) == 1


def test_methods_that_cannot_be_used_are_one_line_in_the_list_and_an_error_by_name(package, capsys):
    package(gone="absent_module", number="sample_methods:other", none="textwrap")
    assert not {"gone", "number", "none"} & available().keys()
    first, second, third = capsys.readouterr().err.splitlines()
    assert "'gone' of sample-methods 0.3 cannot be imported from absent_module: ModuleNotFoundError" in first
    assert "module 'textwrap' defines 0 methods" in second
    assert "method 'number' of sample-methods 0.3: sample_methods:other is not a Method" in third
    with pytest.raises(UsageError, match="sample_methods:other is not a Method\nname a subclass of"):
        method_class("number")
    assert method_class("simclr") is SimCLR and not capsys.readouterr().err


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import absent_module", "ModuleNotFoundError: No module named 'absent_module'"),
        ("from math import absent", "ImportError: cannot import name 'absent' from 'math'"),
        ("def", "SyntaxError: invalid syntax"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
    ],
)
def test_a_dotted_name_whose_module_cannot_be_imported_is_refused_with_the_reason(tmp_path, monkeypatch, code, reason):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "method.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UsageError, match=f"^method module 'mine.method' cannot be imported: {reason}"):
        method_class("mine.method")
    sys.modules.pop("mine", None)
