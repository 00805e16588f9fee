"""Continuing a run: its newest checkpoint, and the settings and data that must be those that it began with."""

from collections.abc import Collection, Mapping
from typing import Any

from rich.console import Console

from selfstudy import config as cfg
from selfstudy.disk.reading import read_json
from selfstudy.errors import DataError, FileRefusedError, UsageError
from selfstudy.ops.duration import Duration
from selfstudy.runs.folder import RunFolder
from selfstudy.runs.modality import Work
from selfstudy.runs.resolved import Resolved
from selfstudy.runs.settings import without_effect
from selfstudy.train.checkpoint import Checkpoint, CheckpointStore

_MAX_ENVIRONMENT_BYTES = 1_000_000


def checkpoint_to_resume(folder: RunFolder, store: CheckpointStore, console: Console) -> Checkpoint | None:
    """The newest whole checkpoint of the run in the folder, if there is one."""
    if not folder.config.is_file():
        console.print(f"resume   {folder.path} holds no run yet; starting one", highlight=False)
        return None
    checkpoint = store.latest()
    for rejected in store.rejected:
        console.print(f"resume   {rejected}", highlight=False)
    text = f"from step {checkpoint.step:,}" if checkpoint else "no checkpoint yet: from the beginning"
    console.print(f"resume   {text}", highlight=False)
    return checkpoint


def require_same_run(folder: RunFolder, resolved: Resolved[object], work: Work) -> None:
    """Raise if the run in the folder began with other settings or data.

    Raises:
        UsageError: a setting that changes results has another value.
        DataError: the data have another fingerprint.
        FileRefusedError: ``environment.json`` of the run is missing or damaged.
    """
    if not folder.config.is_file():
        return
    changes = _changes(cfg.read_yaml(folder.config), resolved.config, resolved.reasons)
    if changes:
        raise UsageError(
            "--resume cannot change these settings:\n"
            + "\n".join(f"  {key}: {old} -> {new}" for key, (old, new) in changes.items())
            + "\nleave them out, or start a new run with --out"
        )
    environment = read_json(folder.environment, _MAX_ENVIRONMENT_BYTES)
    if "data_fingerprint" not in environment:
        raise FileRefusedError(f"{folder.environment}: 'data_fingerprint' is missing\nstart a new run with --out")
    inputs, fingerprint = work.fingerprint()
    if environment["data_fingerprint"] != fingerprint:
        raise DataError(
            f"the data is not what this run began with: {environment.get('inputs')} inputs then, {inputs} now\n"
            "bring the files back, or start a new run with --out"
        )


def _changes(
    written: Mapping[str, Any], asked: cfg.RunConfig, derived: Collection[str] = ()
) -> dict[str, tuple[Any, Any]]:
    """The settings that must not differ and do, as (old, new); a longer duration in the same unit is allowed.

    A setting that was not ``written`` did not exist when the run began, and may have any value. A setting that was
    written as ``auto`` and is ``derived`` now has the same value as then.
    """
    saved = cfg.validate(type(asked), written)
    old, new = (cfg.flatten(config.model_dump(mode="json")) for config in (saved, asked))
    unknown_then = old.keys() - cfg.flatten(written).keys()
    different = {key: (old.get(key), new.get(key)) for key in old | new if old.get(key) != new.get(key)}
    before, after = (Duration.parse(config.train.duration) for config in (saved, asked))
    if before.unit == after.unit and after.amount >= before.amount:
        different.pop("train.duration", None)
    return {
        key: pair
        for key, pair in different.items()
        if key not in unknown_then | without_effect({"this run": type(asked)})
        and not (pair[0] == "auto" and key in {*derived, "data.modality"})
    }
