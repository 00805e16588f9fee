"""The table of all settings, and one validated configuration from data, files and keywords. Does not import torch.

Only the fields of the settings models describe a setting. The options of the command line, the keywords of
:mod:`selfstudy.api`, the rules of ``--resume`` and ``compare``, and ``docs/settings.md`` are made from them.
"""

from collections.abc import Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from selfstudy import config as cfg
from selfstudy.config import Keyword, RunConfig, SameResult, validate
from selfstudy.data.names import name_of
from selfstudy.errors import UsageError, did_you_mean
from selfstudy.methods import method_class

if TYPE_CHECKING:
    from selfstudy.methods.base import Method

_TYPES = ("bool", "int", "float", "str", "tuple", "list", "dict", "null")
Models = Mapping[str, type[RunConfig]]  # the settings model of each modality, by the modality's name


class Row(NamedTuple):
    """One setting, as the field of its model describes it.

    Attributes:
        key: the dotted name, such as ``"train.batch_size"``.
        description: one or two sentences that say what the setting is.
        values: the allowed words and types, such as ``("auto", "int")``.
        default: the value of a setting that is not given; None if it has to be given.
        keywords: the short names of the setting.
        changes_result: False if the field is marked as :class:`selfstudy.config.SameResult`.
    """

    key: str
    description: str
    values: tuple[str, ...]
    default: Any
    keywords: tuple[Keyword, ...]
    changes_result: bool


def rows_of(model: type[RunConfig]) -> list[Row]:
    """The settings of one modality, in the order of its model; for the group ``method``, only the name."""
    rows = []
    for group, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            rows += [_row(f"{group}.{name}", one) for name, one in field.annotation.model_fields.items()]
        else:
            rows.append(_row(f"{group}.name", field)._replace(values=("str",), default=model.default_method))
    return rows


def table(models: Models) -> list[Row]:
    """The settings of several modalities, one row for each key, with the rows of a group together.

    Where modalities differ, the description starts with the modality's name, and the default is that of the first one.
    A setting changes results if it does so in any modality.
    """
    found: dict[str, dict[str, Row]] = {}
    for name, model in models.items():
        for row in rows_of(model):
            found.setdefault(row.key, {})[name] = row
    groups = list(dict.fromkeys(key.partition(".")[0] for key in found))
    rows = [_merged(rows, everywhere=len(rows) == len(models)) for rows in found.values()]
    return sorted(rows, key=lambda row: groups.index(row.key.partition(".")[0]))


def keywords_of(models: Models) -> dict[str, tuple[Keyword, Row]]:
    """The keywords of several modalities by name, each with its setting; the first modality with a keyword keeps it."""
    rows = {row.key: row for row in table(models)}
    found: dict[str, tuple[Keyword, Row]] = {}
    for keyword, key, _ in _claims(models):
        found.setdefault(keyword.name, (keyword, rows[key]))
    order = list(rows)
    return dict(sorted(found.items(), key=lambda item: order.index(item[1][1].key)))


def refused_keywords(models: Models) -> list[str]:
    """A line for each keyword that stands for another setting of an earlier modality."""
    owners: dict[str, tuple[str, str]] = {}
    return [
        f"keyword {keyword.name!r} of {modality} for {key} is not used: {owner} has it for {taken}"
        for keyword, key, modality in _claims(models)
        for taken, owner in [owners.setdefault(keyword.name, (key, modality))]
        if taken != key
    ]


def _claims(models: Models) -> list[tuple[Keyword, str, str]]:
    """Every keyword with the dotted name of its setting and the modality, in the order of the modalities."""
    return [
        (keyword, row.key, name) for name, model in models.items() for row in rows_of(model) for keyword in row.keywords
    ]


def without_effect(models: Models) -> set[str]:
    """The dotted names of the settings that change no result."""
    return {row.key for row in table(models) if not row.changes_result}


def _row(key: str, field: FieldInfo) -> Row:
    """The row of one field."""
    return Row(
        key,
        field.description or "",
        tuple(_values(field.annotation)),
        None if field.is_required() else field.default,
        tuple(mark for mark in field.metadata if isinstance(mark, Keyword)),
        not any(isinstance(mark, SameResult) for mark in field.metadata),
    )


def _values(annotation: Any) -> list[str]:
    """The words of a choice and the names of the types that an annotation allows.

    >>> _values(Literal["auto", "cpu"] | Annotated[int, "at least 1"] | None)
    ['auto', 'cpu', 'int', 'null']
    """
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return [str(part) for part in parts]
    if origin in (Union, UnionType):
        values = [value for part in parts for value in _values(part)]
        # words before types, always in one order: Python may hand out an equal union that was written in another
        return sorted(values, key=lambda value: _TYPES.index(value) if value in _TYPES else -1)
    if origin is Annotated:
        return _values(parts[0])
    return ["null" if annotation is NoneType else (origin or annotation).__name__]  # as YAML writes None


def _merged(rows: Mapping[str, Row], *, everywhere: bool) -> Row:
    """One row for the rows that modalities, by name, have for one key."""
    first, *more = rows.values()
    same = everywhere and all(row.description == first.description for row in more)
    texts = [f"{modality.capitalize()}: {row.description}" for modality, row in rows.items()]
    return first._replace(
        description=first.description if same else " ".join(texts),
        values=tuple(dict.fromkeys(value for row in rows.values() for value in row.values)),
        keywords=tuple(dict.fromkeys(keyword for row in rows.values() for keyword in row.keywords)),
        changes_result=any(row.changes_result for row in rows.values()),
    )


def gather(data: object, nested: dict[str, Any], *, keywords: Mapping[str, Any], models: Models) -> dict[str, Any]:
    """Nested settings with the data and the keywords put into them.

    Args:
        data: the data of :func:`selfstudy.api.pretrain`; None if the nested settings name it.
        nested: nested settings, such as ``{"train": {"seed": 0}}``; changed in place.
        keywords: the settings of :func:`selfstudy.api.pretrain`; they replace nested ones.
        models: the settings model of each modality, by the modality's name.

    Raises:
        UsageError: no data is given, a keyword is unknown, or two keywords set the same setting.
    """
    _apply(nested, keywords, keywords_of(models))
    if data is not None:
        cfg.set_key(nested, "data.path", name_of(data))
    if "path" not in (nested.get("data") or {}):
        raise UsageError("no data given\nname a folder, archive, list or sample: selfstudy pretrain photos/")
    return nested


def read_settings(config: str | Path | Mapping[str, Any] | None) -> dict[str, Any]:
    """Nested settings: the content of a YAML file, a copy of a mapping, or nothing for None."""
    if isinstance(config, Mapping):
        return cfg.with_overrides(config, [])
    return {} if config is None else cfg.read_yaml(config)


def merge(base: dict[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    """``base``, with the settings of ``top`` in place of its own; both are nested, and ``base`` is changed in place."""
    for key, value in cfg.flatten(top).items():
        cfg.set_key(base, key, value)
    return base


def _apply(nested: dict[str, Any], given: Mapping[str, Any], known: Mapping[str, tuple[Keyword, Row]]) -> None:
    """Put keyword settings into nested ones."""
    setters: dict[str, str] = {}
    for name, value in given.items():
        if name not in (*known, "set"):
            raise UsageError(f"unknown setting {name!r}{did_you_mean(name, known)}\nknown: {', '.join(known)}")
        if value is None or name == "set":
            continue
        keyword, row = known[name]
        if row.key in setters:
            raise UsageError(
                f"{setters[row.key]} and {name} were both given, and each sets {row.key}\ngive one of them"
            )
        setters[row.key] = name
        cfg.set_key(nested, row.key, f"{value} {keyword.unit}" if keyword.unit else value)
    for key, value in (given.get("set") or {}).items():
        cfg.set_key(nested, key, value)


def method_of(settings: Mapping[str, Any]) -> "type[Method]":
    """The method that nested settings name; without a name, or for ``auto``, ``simclr``. Its settings are checked.

    Raises:
        UsageError: a group is not a mapping, or the method or one of its settings is unknown.
    """
    cfg.flatten(settings)  # refuse a group that is not a mapping
    own = dict(settings.get("method", {}))
    name = own.pop("name", cfg.DEFAULT_METHOD)
    name = cfg.DEFAULT_METHOD if name == cfg.AUTO_METHOD else name
    if not isinstance(name, str):
        raise UsageError(f"setting 'method.name': got {name!r}, a name is needed\n'selfstudy methods' lists all")
    method = method_class(name)
    unknown = {key: value for key, value in own.items() if key not in method.Config.model_fields}
    validate(method.Config, unknown, "method")  # refuse a misspelt name before the data is read
    return method
