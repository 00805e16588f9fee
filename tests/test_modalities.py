"""The registry of modalities: which one a run, a folder or a method belongs to."""

import sys

import pytest

from selfstudy import modalities
from selfstudy.errors import UsageError
from tests.installed import install


def test_a_name_stands_for_one_modality():
    assert [modalities.named(name).name for name in modalities.available()] == ["images", "text"]
    assert modalities.named("text") is modalities.named("text")
    with pytest.raises(UsageError, match="unknown modality 'txt'; did you mean 'text'\\?\nknown: images, text"):
        modalities.named("txt")


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({}, "images"),
        ({"method": {"name": "gpt"}}, "text"),
        ({"method": {"name": "mae"}, "data": {"modality": "auto"}}, "images"),
        ({"method": {"name": "simclr"}, "data": {"modality": "text"}}, "text"),
    ],
)
def test_settings_name_their_modality_or_take_that_of_their_method(settings, name):
    config = modalities.configured("x", settings, {})
    assert config.data.modality == name and isinstance(config, modalities.named(name).settings)


def test_a_modality_that_nobody_brings_is_refused():
    with pytest.raises(UsageError, match="unknown modality 'tex'; did you mean 'text'.*\nknown: images, text"):
        modalities.configured("x", {"data": {"modality": "tex"}}, {})


@pytest.mark.parametrize(("file", "name"), [("config.json", "images"), ("selfstudy.json", "text")])
def test_an_encoder_folder_tells_its_modality(tmp_path, file, name):
    (tmp_path / "encoder").mkdir()
    assert not modalities.holds_encoder(tmp_path / "encoder")
    (tmp_path / "encoder" / file).write_text('{"format_version": 1}')
    assert modalities.of_run(tmp_path).name == modalities.of_run(tmp_path / "encoder").name == name
    assert modalities.holds_encoder(tmp_path / "encoder")


@pytest.mark.parametrize("method", ["bert", "simclr"])
def test_an_unfinished_run_is_of_the_modality_that_its_settings_name(tmp_path, method):
    settings = f"data: {{path: x}}\nmethod: {{name: {method}}}\n"
    (tmp_path / "config.yaml").write_text(settings)
    assert modalities.of_run(tmp_path).name == ("text" if method == "bert" else "images")


def test_a_folder_without_a_run_is_taken_for_images(tmp_path):
    assert modalities.of_run(tmp_path).name == "images"


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("images", ["timm", "torchvision", "onnx", "transformers"]),
        ("text", ["transformers", "sentence-transformers", "onnx"]),
    ],
)
def test_every_library_that_is_listed_has_an_exporter_and_no_other(name, known):
    modality = modalities.named(name)
    assert list(modalities.exports()[name]) == known
    assert all(callable(modalities.exporter(modality, to)) for to in known)
    with pytest.raises(
        UsageError, match=f"unknown export target 'tim' of a run on {name}.*\nknown: {', '.join(known)}"
    ):
        modalities.exporter(modality, "tim")


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A function that installs a package with a module ``kinds`` and entry points."""

    def make(groups, code=""):
        (tmp_path / "kinds.py").write_text(code, encoding="utf-8")
        install(tmp_path, "foreign", "2.0", groups)
        monkeypatch.syspath_prepend(tmp_path)
        _forget()

    yield make
    monkeypatch.undo()
    sys.modules.pop("kinds", None)
    _forget()


@pytest.fixture
def foreign(installed):
    """Install a package whose modality cannot be imported, and which also claims a name of ours and an export."""
    points = {"broken": "absent_module:Modality", "images": "absent_module:Modality"}
    exports = {"images.elsewhere": "math:sqrt", "text.onnx": "math:sqrt"}
    installed({"selfstudy.modalities": points, "selfstudy.exports": exports})


def _forget():
    for cached in (modalities.available, modalities.named, modalities.usable, modalities.exports):
        cached.cache_clear()


def test_a_modality_that_cannot_be_imported_is_one_warning_line_and_an_error_by_name(foreign, capsys):
    assert list(modalities.models()) == ["images", "text"]
    taken, broken = capsys.readouterr().err.splitlines()
    assert "selfstudy.modalities 'images' of foreign 2.0 is not used: the name is taken by selfstudy" in taken
    assert broken.startswith(
        "selfstudy: warning: 'broken' of foreign 2.0 cannot be imported from absent_module:Modality"
    )
    with pytest.raises(UsageError, match="'broken' of foreign 2.0 cannot be imported"):
        modalities.named("broken")
    assert modalities.configured("x", {}, {}).data.modality == "images" and not capsys.readouterr().err


def test_another_package_exports_encoders_of_ours_and_takes_no_name(foreign, capsys):
    from math import sqrt

    assert modalities.exporter(modalities.named("images"), "elsewhere") is sqrt
    assert str(modalities.exports()["images"]["elsewhere"]) == "elsewhere (foreign 2.0)"
    assert modalities.exporter(modalities.named("text"), "onnx") is not sqrt
    assert "selfstudy.exports 'text.onnx' of foreign 2.0 is not used" in capsys.readouterr().err


FAULTY = """
from selfstudy.config import RunConfig

class Raises:
    name, settings = "raises", RunConfig
    def __init__(self):
        raise RuntimeError("no microphone")

class Bare:
    name = "bare"

class Other:
    name, settings = "something else", RunConfig
"""


@pytest.mark.parametrize(
    ("name", "target", "message"),
    [
        ("raises", "kinds:Raises", "cannot be built: RuntimeError: no microphone"),
        ("module", "kinds", "kinds is no class with the name 'module' and a subclass of RunConfig as settings"),
        ("bare", "kinds:Bare", "kinds:Bare is no class with the name 'bare' and a subclass of RunConfig as settings"),
        ("other", "kinds:Other", "kinds:Other is no class with the name 'other' and"),
    ],
)
def test_a_faulty_modality_is_one_warning_line_and_an_error_by_name(installed, capsys, name, target, message):
    installed({"selfstudy.modalities": {name: target}}, FAULTY)
    assert list(modalities.models()) == ["images", "text"]
    (line,) = capsys.readouterr().err.splitlines()
    assert f"modality '{name}' of foreign 2.0" in line and message in line and line.endswith("; it is left out")
    with pytest.raises(UsageError, match=f"^modality '{name}' of foreign 2.0.*{message}"):
        modalities.named(name)


GREEDY = """
from typing import Annotated
from pydantic import Field
from selfstudy.config import DataConfig, EncoderConfig, Keyword, RunConfig, SameResult

class Data(DataConfig):
    path: Annotated[str, Field(description="Where the data is.")]
    size: Annotated[int, Field(description="Samples."), Keyword("image_size"), SameResult()] = 1

class Encoder(EncoderConfig):
    batch: Annotated[int, Field(description="Another batch."), Keyword("batch_size")] = 1

class Settings(RunConfig):
    data: Data
    encoder: Encoder = Encoder()

class Greedy:
    name, settings = "greedy", Settings
"""


def test_keywords_and_marks_of_ours_win_against_those_of_another_package(installed, capsys):
    installed({"selfstudy.modalities": {"greedy": "kinds:Greedy"}}, GREEDY)
    config = modalities.configured("x", {}, {"image_size": 32, "batch_size": 8})
    assert config.data.image_size == 32 and config.train.batch_size == 8
    assert capsys.readouterr().err.splitlines() == [
        "selfstudy: warning: keyword 'image_size' of greedy for data.size is not used: images has it for "
        "data.image_size",
        "selfstudy: warning: keyword 'batch_size' of greedy for encoder.batch is not used: images has it for "
        "train.batch_size",
    ]
    modalities.configured("x", {}, {})
    assert not capsys.readouterr().err
    assert {"data.path", "data.size"} <= modalities.ignored_by_compare()


def test_an_export_without_a_modality_is_one_warning_line_and_adds_no_modality(installed, capsys):
    installed({"selfstudy.exports": {"onnx2": "math:sqrt"}})
    assert list(modalities.exports()) == ["images", "text"]
    assert capsys.readouterr().err == (
        "selfstudy: warning: export 'onnx2' of foreign 2.0 is not used: "
        "name it MODALITY.LIBRARY, such as images.onnx2\n"
    )


def test_a_modality_that_is_not_registered_has_no_exports():
    class Unlisted:
        name = "unlisted"

    with pytest.raises(UsageError, match="^unknown export target 'onnx' of a run on unlisted\nknown: none"):
        modalities.exporter(Unlisted(), "onnx")


@pytest.mark.parametrize(
    ("name", "to"),
    [
        *(("images", to) for to in ("timm", "torchvision", "transformers")),
        *(("text", to) for to in ("transformers", "sentence-transformers")),
    ],
)
def test_a_library_without_a_place_for_a_whitening_layer_is_refused_in_a_line(name, to):
    with pytest.raises(UsageError) as caught:
        modalities.exporter(modalities.named(name), to, whiten=True)
    assert str(caught.value) == f"an encoder for {to} has no place for a whitening layer: use --to onnx"
    assert modalities.exporter(modalities.named(name), "onnx", whiten=True).keywords == {"whiten": True}
