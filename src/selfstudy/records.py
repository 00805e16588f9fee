"""What a run writes down beside its results: its beginning, its plan, and inputs that failed on the way."""

import json
import platform
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.metadata import version

import torch
from rich.console import Console
from torch import Tensor

from selfstudy import config as cfg
from selfstudy.data.decode import BadInput, with_channels
from selfstudy.data.scan import Scan
from selfstudy.data.sources import Source
from selfstudy.resolve import Resolved
from selfstudy.run_folder import RunFolder
from selfstudy.views.contact_sheet import contact_sheet
from selfstudy.views.spec import Spec

_SHOWN = 8  # images on the contact sheet


def write_beginning(folder: RunFolder, resolved: Resolved, source: Source, scan: Scan, specs: Sequence[Spec]) -> None:
    """Scan, environment, contact sheet, and last the configuration, which says that all of it is there."""
    config = resolved.config
    scan.write(folder.inputs)
    environment = {
        "command": sys.argv,
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processors": torch.get_num_threads(),
        "versions": {name: version(name) for name in ("selfstudy", "torch", "torchvision", "timm", "lightning")},
        "git_commit": _git_commit(),
        "seed": config.train.seed,
        "inputs": len(source),
        "data_fingerprint": source.fingerprint(),
    }
    folder.environment.write_text(json.dumps(environment, indent=2) + "\n", encoding="utf-8")
    contact_sheet(_first_images(source, scan), specs, seed=config.train.seed).save(folder.views)
    folder.replace(folder.config, cfg.to_yaml(config, resolved.reasons))


def _first_images(source: Source, scan: Scan) -> dict[int, Tensor]:
    """The first few images by position, those left out that only now turn out to be damaged."""
    images = {}
    for position, index in enumerate(scan.good[:_SHOWN].tolist()):
        with suppress(BadInput):
            images[position] = with_channels(source.read(index), scan.channels)
    return images


def _git_commit() -> str | None:
    """The commit of the working directory, if it is a git checkout."""
    try:
        command = ["git", "rev-parse", "HEAD"]
        return subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def print_plan(resolved: Resolved, console: Console) -> None:
    """Say every derived value with its reason."""
    flat = cfg.flatten(resolved.config.model_dump(mode="json"))
    console.print(f"method   {flat['method.name']} · encoder {flat['encoder.name']}", highlight=False)
    for key, reason in resolved.reasons.items():
        console.print(f"  {key} = {flat.get(key)}  ({reason})", highlight=False, soft_wrap=True)


def note_unreadable(
    folder: RunFolder, unreadable: Mapping[int, str], source: Source, scan: Scan, console: Console
) -> None:
    """List inputs, by position and reason, that the scan found whole and training could not read."""
    if not unreadable:
        return
    lines = [{"id": source.ids[int(scan.good[position])], "reason": why} for position, why in unreadable.items()]
    folder.append(folder.unreadable, lines)
    console.print(
        f"skipped  {len(lines)} inputs that became unreadable, listed in {folder.unreadable}", highlight=False
    )
