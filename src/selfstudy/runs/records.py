"""The files that a run writes before training, and the plan that it prints."""

import json
import platform
import subprocess
import sys
import time
from importlib.metadata import version

import torch
from rich.console import Console

from selfstudy import config as cfg
from selfstudy.runs.folder import RunFolder
from selfstudy.runs.modality import Work
from selfstudy.runs.reasons import read_reasons, write_settings
from selfstudy.runs.resolved import Resolved

_LIBRARIES = ("selfstudy", "torch", "torchvision", "timm", "transformers", "tokenizers", "lightning-fabric")


def write_beginning(folder: RunFolder, resolved: Resolved[object], work: Work) -> None:
    """Write the description of the data, the environment, and last the settings, which make the folder a run."""
    inputs, fingerprint = work.fingerprint()
    environment = {
        "command": sys.argv,
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processors": torch.get_num_threads(),
        "versions": {name: version(name) for name in _LIBRARIES},
        "git_commit": _git_commit(),
        "seed": resolved.train.seed,
        "inputs": inputs,
        "data_fingerprint": fingerprint,
    }
    work.write_beginning(folder, resolved)
    folder.replace(folder.environment, json.dumps(environment, indent=2) + "\n")
    write_settings(folder, resolved.config, resolved.reasons)


def write_changes(folder: RunFolder, resolved: Resolved[object]) -> None:
    """Write the settings of a resumed run; settings that have not changed keep their reasons."""
    before = cfg.flatten(cfg.read_yaml(folder.config))
    now = cfg.flatten(resolved.config.model_dump(mode="json"))
    kept = {key: reason for key, reason in read_reasons(folder).items() if before.get(key) == now.get(key)}
    write_settings(folder, resolved.config, resolved.reasons | kept)


def _git_commit() -> str | None:
    """The commit of the working directory; None if it is not a git checkout."""
    try:
        command = ["git", "rev-parse", "HEAD"]
        return subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def print_plan(resolved: Resolved[object], console: Console) -> None:
    """Print every derived value with its reason."""
    flat = cfg.flatten(resolved.config.model_dump(mode="json"))
    console.print(f"method   {flat['method.name']} · encoder {flat['encoder.name']}", highlight=False)
    for key, reason in resolved.reasons.items():
        console.print(f"  {key} = {flat.get(key)}  ({reason})", highlight=False, soft_wrap=True)
    for note in resolved.notes:
        console.print(f"plan     {note}", highlight=False, soft_wrap=True)


def trained_in_half(folder: RunFolder, device: torch.device) -> bool:
    """True if the run used bfloat16 on this kind of device; on another kind, bfloat16 may be much slower."""
    train = cfg.read_yaml(folder.config)["train"]
    return bool(train["precision"] == "bf16" and train["device"] == device.type)
