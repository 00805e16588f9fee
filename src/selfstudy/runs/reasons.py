"""The settings of a run as it keeps them: ``config.yaml`` for people, ``reasons.json`` for programs.

``reasons.json`` holds the reason of each derived setting by dotted key. Runs of earlier versions have the reasons only
as comments in ``config.yaml``; they are read from there. Does not import torch.
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
    """Write both files, ``config.yaml`` last, because it makes the folder a run."""
    folder.replace(folder.reasons, json.dumps(reasons, indent=1, ensure_ascii=False) + "\n")
    folder.replace(folder.config, to_yaml(config, reasons))


def read_reasons(folder: RunFolder) -> dict[str, str]:
    """The reason of every derived setting, by dotted key.

    Raises:
        FileRefusedError: ``reasons.json`` is not readable; or it is missing, and ``config.yaml`` is not readable.
    """
    if folder.reasons.is_file():
        return read_json(folder.reasons, _MAX_BYTES)
    return _reasons_in_comments(read_text(folder.config, _MAX_BYTES))


def _reasons_in_comments(text: str) -> dict[str, str]:
    """The comments after the values of a ``config.yaml``. The parser finds the values, which may hold a #."""
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    groups = root.value if isinstance(root, yaml.MappingNode) else []
    return {
        f"{group.value}.{key.value}": comment[1]
        for group, settings in groups
        if isinstance(settings, yaml.MappingNode)
        for key, value in settings.value
        if (comment := _COMMENT.match(text, value.end_mark.index))
    }
