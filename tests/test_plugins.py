import pytest

from selfstudy.errors import UsageError
from selfstudy.plugins import Entry, found, loaded


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Makes an installed package with one module and entry points."""

    def make(name, points, *, code="", group="selfstudy.things"):
        (tmp_path / f"{name}.py").write_text(code, encoding="utf-8")
        about = tmp_path / f"{name}-1.2.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n", encoding="utf-8")
        lines = [f"[{group}]", *(f"{key} = {target}" for key, target in points.items())]
        (about / "entry_points.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")

    monkeypatch.syspath_prepend(tmp_path)
    return make


def test_our_own_come_first_then_those_of_other_packages_with_their_origin(package):
    package("others", {"b": "others:thing", "a": "others"}, code="thing = 7")
    entries = found("selfstudy.things", {"own": "math:pi"})
    assert list(entries) == ["own", "a", "b"]
    assert entries["own"] == Entry("own", "selfstudy", "math:pi") and entries["b"].origin == "others 1.2"
    assert entries["own"].load() == pytest.approx(3.14159, abs=1e-5)
    assert entries["b"].load() == 7 and entries["a"].load().thing == 7


def test_another_group_is_not_looked_at(package):
    package("elsewhere", {"b": "elsewhere"}, group="selfstudy.others")
    assert found("selfstudy.things", {}) == {}


def test_a_name_of_ours_stays_ours_and_the_refusal_names_both_origins(package, capsys):
    package("thief", {"pi": "thief:pi"}, code="pi = 4")
    assert found("selfstudy.things", {"pi": "math:pi"})["pi"].load() == pytest.approx(3.14159, abs=1e-5)
    line = "selfstudy: warning: selfstudy.things 'pi' of thief 1.2 is not used: the name is taken by selfstudy\n"
    assert capsys.readouterr().err == line


def test_of_two_packages_with_one_name_the_second_is_refused(package, capsys):
    for name, value in (("zebra", 2), ("aardvark", 1)):
        package(name, {"same": f"{name}:value"}, code=f"value = {value}")
    assert found("selfstudy.things", {})["same"].load() == 1
    assert "'same' of zebra 1.2 is not used: the name is taken by aardvark 1.2" in capsys.readouterr().err


def test_finding_imports_nothing(package):
    package("bomb", {"b": "bomb"}, code="raise SystemExit")
    assert found("selfstudy.things", {})["b"].origin == "bomb 1.2"


def test_what_cannot_be_imported_is_one_warning_line_and_an_error_for_who_asks_for_it(package, capsys):
    package("broken", {"bad": "broken:thing", "worse": "absent_module"}, code="1 / 0\nthing = 1")
    entries = found("selfstudy.things", {"pi": "math:pi"})
    assert list(loaded(entries)) == ["pi"]
    bad, worse = capsys.readouterr().err.splitlines()
    assert bad == (
        "selfstudy: warning: 'bad' of broken 1.2 cannot be imported from broken:thing: "
        "ZeroDivisionError: division by zero; it is left out"
    )
    assert "'worse' of broken 1.2 cannot be imported from absent_module: ModuleNotFoundError" in worse
    with pytest.raises(UsageError, match="'bad' of broken 1.2 cannot be imported from broken:thing: ZeroDivision"):
        entries["bad"].load()


def test_a_fault_of_our_own_is_not_hidden():
    with pytest.raises(ModuleNotFoundError):
        loaded(found("selfstudy.things", {"gone": "selfstudy.gone"}))
