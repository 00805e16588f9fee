"""The one file that knows every modality: images, text, and those that other packages register.

A package registers a modality by an entry point of the group ``selfstudy.modalities``: a class as
:class:`selfstudy.runs.modality.Modality` describes it, under the modality's name. It registers exports of its encoders
by entry points ``MODALITY.LIBRARY`` of the group ``selfstudy.exports``.
"""

from collections.abc import Callable, Mapping
from functools import cache, partial
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from selfstudy.config import RunConfig, read_yaml, validate
from selfstudy.errors import UsageError, did_you_mean, first_line
from selfstudy.images.config import ImageRunConfig
from selfstudy.optim.shapes import shape_of
from selfstudy.plugins import Entry, found, loaded, warn
from selfstudy.runs.settings import gather, method_of, refused_keywords, table, without_effect
from selfstudy.text.config import TextRunConfig
from selfstudy.text.modality import TextModality

if TYPE_CHECKING:
    from selfstudy.export.result import ExportResult
    from selfstudy.runs.modality import Modality, Whitens
    from selfstudy.runs.pretraining import OpenWork
    from selfstudy.text.embedder import TextEmbedder

    Exporter = Callable[[Path, Path], ExportResult]

SETTINGS: dict[str, type[RunConfig]] = {"images": ImageRunConfig, "text": TextRunConfig}
"""The settings models of our own modalities; the options of the command line are made from them."""
_OURS = {"images": "selfstudy.images.modality:ImageModality", "text": "selfstudy.text.modality:TextModality"}
_EXPORTS = {
    "images.timm": "selfstudy.export.timm:export_timm",
    "images.torchvision": "selfstudy.export.torchvision:export_torchvision",
    "images.onnx": "selfstudy.export.onnx:export_onnx",
    "images.transformers": "selfstudy.export.timm_wrapper:export_timm_wrapper",
    "text.transformers": "selfstudy.export.transformers:export_transformers",
    "text.sentence-transformers": "selfstudy.export.sentence_transformers:export_sentence_transformers",
    "text.onnx": "selfstudy.export.text_onnx:export_text_onnx",
}


@cache
def available() -> dict[str, Entry]:
    """The modalities that can be used, our own first, with the package that each comes from."""
    return found("selfstudy.modalities", _OURS)


@cache
def named(name: str) -> "Modality":
    """The modality of a name.

    Raises:
        UsageError: an unknown name, or a modality of another package that cannot be used.
    """
    known = available()
    if name not in known:
        raise UsageError(f"unknown modality {name!r}{did_you_mean(name, known)}\nknown: {', '.join(known)}")
    return _modality_of(known[name])


@cache
def usable() -> dict[str, "Modality"]:
    """Every modality by its name; one that cannot be used, and a keyword that is taken, is one warning line."""
    known = loaded(available(), _modality_of)
    for line in refused_keywords({name: modality.settings for name, modality in known.items()}):
        warn(line)
    return known


def _modality_of(entry: Entry) -> "Modality":
    """The modality behind an entry.

    Raises:
        UsageError: it cannot be imported or built, is no class with settings, or its own name is not the entry's.
    """
    cls = entry.load()
    settings = getattr(cls, "settings", None)
    is_modality = isinstance(cls, type) and isinstance(settings, type) and issubclass(settings, RunConfig)
    if not is_modality or getattr(cls, "name", None) != entry.name:
        raise UsageError(
            f"modality {entry.name!r} of {entry.origin}: {entry.target} is no class with the name {entry.name!r} "
            "and a subclass of RunConfig as settings\nwrite a class as in docs/add_a_modality.md"
        )
    try:
        modality: Modality = cls()
    except Exception as error:  # another package's code may raise anything
        reason = f"{type(error).__name__}: {first_line(error)}"
        raise UsageError(f"modality {entry.name!r} of {entry.origin} cannot be built: {reason}") from error
    return modality


def configured(data: object, settings: dict[str, Any], keywords: Mapping[str, Any]) -> RunConfig:
    """The validated configuration of nested settings with keywords on top; see :func:`selfstudy.runs.settings.gather`.

    Raises:
        UsageError: no data, or settings that :func:`validated` refuses.
    """
    return validated(gather(data, settings, keywords=keywords, models=models()))


def validated(settings: Mapping[str, Any], known: Mapping[str, type[RunConfig]] | None = None) -> RunConfig:
    """The validated configuration of nested settings, with the name of its modality filled in.

    The modality is that of ``data.modality`` or, if that is ``auto``, the one that the method learns from.

    Args:
        settings: nested settings that name the data.
        known: the settings model of each modality; those of all usable modalities if left out.

    Raises:
        UsageError: an unknown method, modality, key or value.
    """
    method, data = method_of(settings), dict(settings.get("data", {}))
    known = models() if known is None else known
    name = data.get("modality", "auto")
    name = method.reads.modality if name == "auto" else name
    if name not in known:
        raise UsageError(
            f"unknown modality {name!r}{did_you_mean(name, known)}\n"
            f"known: {', '.join(known)}; install the package that brings this modality"
        )
    config = validate(known[name], {**settings, "data": data | {"modality": name}})
    shape_of(config.optimizer.schedule)  # refuse a misspelt shape before the data is read
    return config


def opener(data: object, config: RunConfig) -> "OpenWork":
    """A function that opens the data when training calls it: ``data``, or the data that the configuration names."""
    source = data if data is not None else config.data.path
    return partial(named(config.data.modality).open, source, config)


def of_config(file: Path) -> "Modality":
    """The modality of the run with this ``config.yaml``.

    Raises:
        UsageError: an unknown method or modality.
        FileRefusedError: the file is damaged.
    """
    return named(validated(read_yaml(file)).data.modality)


def of_run(run: str | Path) -> "Modality":
    """The modality of a run folder, or of an ``encoder/`` folder by itself; images if the folder holds neither.

    Raises:
        FileRefusedError: a file of the encoder is damaged, or ``config.yaml`` of a run without an encoder.
        UsageError: a run without an encoder names an unknown method or modality.
    """
    folder, config = encoder_folder(run), Path(run) / "config.yaml"
    if found := next((one for one in usable().values() if one.holds(folder)), None):
        return found
    return of_config(config) if config.is_file() else named("images")


def encoder_folder(run: str | Path) -> Path:
    """The ``encoder/`` folder of a run, or the folder itself."""
    folder = Path(run)
    return folder / "encoder" if (folder / "encoder").is_dir() else folder


def holds_encoder(folder: Path) -> bool:
    """True if a folder holds the encoder of a run."""
    return any(modality.holds(folder) for modality in usable().values())


@cache
def exports() -> dict[str, dict[str, Entry]]:
    """The libraries that encoders can be exported to, by the name of the modality."""
    listed: dict[str, dict[str, Entry]] = {name: {} for name in available()}
    for name, entry in found("selfstudy.exports", _EXPORTS).items():
        modality, dot, library = name.partition(".")
        if dot:
            listed.setdefault(modality, {})[library] = entry._replace(name=library)
        else:
            warn(f"export {name!r} of {entry.origin} is not used: name it MODALITY.LIBRARY, such as images.{name}")
    return listed


def exporter(modality: "Modality", to: str, *, whiten: bool = False) -> "Exporter":
    """The function that writes an encoder for another library.

    Args:
        modality: the modality of the encoder.
        to: the library.
        whiten: True to write the whitening of the run as the last layer.

    Raises:
        UsageError: encoders of this modality cannot be written for the library, or the library has no place for a
            whitening layer.
    """
    known = exports().get(modality.name, {})
    if to not in known:
        raise UsageError(
            f"unknown export target {to!r} of a run on {modality.name}{did_you_mean(to, known)}\n"
            f"known: {', '.join(known) or 'none'}"
        )
    write: Any = known[to].load()
    if not whiten:
        return cast("Exporter", write)
    if "whiten" not in signature(write).parameters:
        instead = "use --to onnx" if to != "onnx" and "onnx" in known else "leave --whiten out"
        raise UsageError(f"an encoder for {to} has no place for a whitening layer: {instead}")
    return partial(write, whiten=True)


def whitens(modality: "Modality") -> "Whitens":
    """The same modality, as one whose encoders can hold whitening statistics.

    Raises:
        UsageError: they cannot; the package of the modality would have to add it.
    """
    from selfstudy.runs.modality import Whitens  # imports torch

    if not isinstance(modality, Whitens):
        raise UsageError(f"encoders of {modality.name} have no whitening statistics\nleave whiten out")
    return modality


def text_embedder(run: str | Path) -> "TextEmbedder":
    """The encoder of a run on text, which can also fill in masks or continue texts.

    Raises:
        UsageError: the run is not a finished run on text.
    """
    text, folder = TextModality(), encoder_folder(run)
    if not text.holds(folder):
        raise UsageError(
            f"{str(run)!r} is not a finished run on text\nmake one: selfstudy pretrain corpus/ --method bert"
        )
    return text.load(folder)


def models() -> dict[str, type[RunConfig]]:
    """The settings model of every modality by its name."""
    return {name: modality.settings for name, modality in usable().items()}


def ignored_by_compare() -> set[str]:
    """The dotted names of the settings that change no result; for a setting of ours, only our own marks count."""
    ours = {row.key for row in table(SETTINGS)}
    return without_effect(SETTINGS) | (without_effect(models()) - ours)
