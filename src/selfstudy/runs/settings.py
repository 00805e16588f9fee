"""What callers give, data, files and keywords, as one validated configuration."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selfstudy import config as cfg
from selfstudy.config import RunConfig, validate
from selfstudy.data.names import name_of
from selfstudy.errors import UsageError, did_you_mean
from selfstudy.methods import method_class
from selfstudy.optim.shapes import shape_of

if TYPE_CHECKING:
    from selfstudy.methods.base import Method

_SHORT = {
    "method": "method.name",
    "encoder": "encoder.name",
    "stem": "encoder.stem",
    "image_size": "data.image_size",
    "views": "data.views",
    "tokenizer": "data.tokenizer",
    "context": "data.context",
    "held_out": "data.held_out",
    "batch_size": "train.batch_size",
    "precision": "train.precision",
    "device": "train.device",
    "workers": "train.workers",
    "seed": "train.seed",
}
_DURATIONS = ("epochs", "steps", "minutes", "samples")
Models = Mapping[str, type[RunConfig]]  # the settings of each modality, by its name


def build_config(data: Any, nested: dict[str, Any], *, keywords: Mapping[str, Any], models: Models) -> cfg.RunConfig:
    """The validated configuration of nested settings, and of keywords, which come on top and are put into them.

    Args:
        data: as for :func:`selfstudy.api.pretrain`; None where the nested settings name it.
        nested: such as ``{"train": {"seed": 0}}``.
        keywords: the settings of :func:`selfstudy.api.pretrain`.
        models: the settings model of each modality, by its name.

    Raises:
        UsageError: no data, an unknown setting, or a value out of its range.
    """
    _apply(nested, keywords)
    if data is not None:
        cfg.set_key(nested, "data.path", name_of(data))
    if "path" not in (nested.get("data") or {}):
        raise UsageError("no data given\nname a folder, archive, list or sample: selfstudy pretrain photos/")
    return configured(nested, models)


def read_settings(config: str | Path | Mapping[str, Any] | None) -> dict[str, Any]:
    """Nested settings of a YAML file, or a copy of those given; none of None."""
    if isinstance(config, Mapping):
        return cfg.with_overrides(config, [])
    return {} if config is None else cfg.read_yaml(config)


def merge(base: dict[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    """``base``, with the nested settings of ``top`` put into it."""
    for key, value in cfg.flatten(top).items():
        cfg.set_key(base, key, value)
    return base


def _apply(nested: dict[str, Any], keywords: Mapping[str, Any]) -> None:
    """Put keyword settings into the nested ones."""
    for name in keywords:
        if name not in (*_SHORT, *_DURATIONS, "set"):
            known = [*_SHORT, *_DURATIONS]
            raise UsageError(f"unknown setting {name!r}{did_you_mean(name, known)}\nknown: {', '.join(known)}")
    given = [unit for unit in _DURATIONS if keywords.get(unit) is not None]
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)} were both given; one duration decides a run")
    for unit in given:
        cfg.set_key(nested, "train.duration", f"{keywords[unit]} {unit}")
    for name, key in _SHORT.items():
        if keywords.get(name) is not None:
            cfg.set_key(nested, key, _views(keywords[name]) if name == "views" else keywords[name])
    for key, value in (keywords.get("set") or {}).items():
        cfg.set_key(nested, key, value)


def _views(given: Any) -> Any:
    """What ``views`` stands for: the content of a YAML file, or what was given."""
    if isinstance(given, str | Path) and Path(given).suffix in (".yaml", ".yml"):
        content = cfg.read_yaml(given)
        return content.get("views", content)
    return given


def configured(settings: Mapping[str, Any], models: Models) -> RunConfig:
    """The validated configuration for nested settings, which then name their modality.

    The modality is that of ``data.modality`` or, where it is ``auto``, the one that the method learns from.

    Raises:
        UsageError: an unknown method, modality, key or value.
    """
    method, data = method_of(settings), dict(settings.get("data", {}))
    name = data.get("modality", "auto")
    name = method.reads.modality if name == "auto" else name
    if name not in models:
        raise UsageError(
            f"there are no settings for data of the modality {name!r}{did_you_mean(name, models)}\n"
            f"known: {', '.join(models)}; install the package that brings this modality"
        )
    config = validate(models[name], {**settings, "data": data | {"modality": name}})
    shape_of(config.optimizer.schedule)
    return config


def method_of(settings: Mapping[str, Any]) -> "type[Method]":
    """The method that nested settings name, or the default one; its own settings have names that it knows.

    Raises:
        UsageError: a group that holds no settings, an unknown method, or an unknown setting of it.
    """
    for group, values in settings.items():
        if not isinstance(values, Mapping):
            raise UsageError(
                f"setting {group!r}: got {values!r}, a group of settings is needed\nwrite {group}.KEY=VALUE"
            )
    own = dict(settings.get("method", {}))
    name = own.pop("name", cfg.DEFAULT_METHOD)
    if not isinstance(name, str):
        raise UsageError(f"setting 'method.name': got {name!r}, a name is needed\n'selfstudy methods' lists all")
    method = method_class(name)
    unknown = {key: value for key, value in own.items() if key not in method.Config.model_fields}
    validate(method.Config, unknown, "method")  # before the data is read: a misspelt name needs none of it
    return method
