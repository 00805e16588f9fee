"""The settings of a run as it keeps them: ``config.yaml`` for people, ``reasons.json`` for programs.

``reasons.json`` holds, by dotted key, why each derived setting has its value. Runs made before it existed have the
reasons as comments in ``config.yaml`` only; they are read from there. Does not import torch.
"""

import json
import re
from collections.abc import Mapping

import yaml

from selfstudy.config import RunConfig, to_yaml
from selfstudy.disk.reading import read_json, read_text
from selfstudy.runs.folder import RunFolder

_MAX_BYTES = 1_000_000
_COMMENT = re.compile(r"[ \t]+# ?(.*)")


def write_settings(folder: RunFolder, config: RunConfig, reasons: Mapping[str, str]) -> None:
    """Write both files, ``config.yaml`` last: a folder that has it is a run."""
    folder.replace(folder.reasons, json.dumps(reasons, indent=1, ensure_ascii=False) + "\n")
    folder.replace(folder.config, to_yaml(config, reasons))


def read_reasons(folder: RunFolder) -> dict[str, str]:
    """The reason of every derived setting, by dotted key.

    Raises:
        FileRefusedError: ``reasons.json``, or ``config.yaml`` where there is no such file, is not readable.
    """
    if folder.reasons.is_file():
        return read_json(folder.reasons, _MAX_BYTES)
    return _reasons_in_comments(read_text(folder.config, _MAX_BYTES))


def _reasons_in_comments(text: str) -> dict[str, str]:
    """The comments after the values of a ``config.yaml``: the parser says where a value ends, a "#" alone does not."""
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    groups = root.value if isinstance(root, yaml.MappingNode) else []
    return {
        f"{group.value}.{key.value}": comment[1]
        for group, settings in groups
        if isinstance(settings, yaml.MappingNode)
        for key, value in settings.value
        if (comment := _COMMENT.match(text, value.end_mark.index))
    }
