"""The checkpoint store: whole or absent, checked by digest, never a pickle.

A checkpoint is staged in ``step-N.tmp-PID`` beside its target, every file synced, a manifest of sizes and SHA-256
digests written last, and the folder renamed; a kill at any moment leaves the previous checkpoints as they were.
"""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from selfstudy.errors import EnvironmentFault, FileRefusedError, TrainingError

FORMAT_VERSION = 1
_FILES = ("model.safetensors", "optimizer.safetensors", "state.json")
_MANIFEST = "MANIFEST.json"
_RESERVE_BYTES = 64 * 2**20
_MAX_JSON_BYTES = 64 * 2**20


class Checkpoint(NamedTuple):
    """A checkpoint read back: what ``load_state_dict`` of model and optimizer take, and the run's own state."""

    step: int
    model: dict[str, Tensor]
    optimizer: dict[str, Any]
    state: dict[str, Any]
    path: Path


class FileSystem:
    """The system calls a save is made of, in one place so that a test can make any of them fail."""

    def mkdir(self, path: Path) -> None:
        """Make a folder and its parents."""
        path.mkdir(parents=True)

    def write(self, path: Path, content: bytes) -> None:
        """Write a new file and sync it to disk."""
        with open(path, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())

    def sync(self, folder: Path) -> None:
        """Sync a folder's entries to disk."""
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def rename(self, source: Path, target: Path) -> None:
        """Give the staged folder its final name."""
        source.rename(target)

    def remove(self, folder: Path) -> None:
        """Delete a folder."""
        shutil.rmtree(folder, ignore_errors=True)


class CheckpointStore:
    """The checkpoints of one run.

    Args:
        folder: where they are; made when the first is saved.
        keep: how many committed ones are kept, at least 2.
        files: the system calls.
    """

    def __init__(self, folder: Path, *, keep: int = 2, files: FileSystem | None = None) -> None:
        self.folder, self.keep = folder, max(2, keep)
        self.rejected: list[str] = []
        self._files = files or FileSystem()

    def save(
        self, step: int, model: Mapping[str, Tensor], optimizer: Mapping[str, Any], state: Mapping[str, Any]
    ) -> Path:
        """Commit the state after ``step`` optimizer steps and drop the oldest beyond ``keep``.

        Raises:
            TrainingError: a tensor that is not finite; nothing is written.
            EnvironmentFault: the disk refuses; earlier checkpoints are untouched.
        """
        tensors, structure = _split_optimizer(optimizer)
        _require_finite({**model, **tensors}, step)
        text = json.dumps({"step": step, "optimizer": structure, **state})
        contents = dict(zip(_FILES, (_packed(model), _packed(tensors), text.encode()), strict=True))
        target = self.folder / f"step-{step:09d}"
        try:
            self._commit(target, contents)
        except OSError as error:
            raise self._refused(step, error, sum(map(len, contents.values()))) from error
        for old in self._committed()[self.keep :]:
            self._files.remove(old)
        return target

    def _commit(self, target: Path, contents: Mapping[str, bytes]) -> None:
        """Stage, sync, rename, sync: the order is what makes it atomic."""
        staged = target.with_name(f"{target.name}.tmp-{os.getpid()}")
        manifest = {
            "format_version": FORMAT_VERSION,
            "files": {name: {"bytes": len(c), "sha256": _digest(c)} for name, c in contents.items()},
        }
        try:
            self._files.mkdir(staged)
            for name, content in contents.items():
                self._files.write(staged / name, content)
            self._files.write(staged / _MANIFEST, json.dumps(manifest, indent=1).encode())
            self._files.sync(staged)
            if target.exists():
                self._files.remove(target)
            self._files.rename(staged, target)
            self._files.sync(self.folder)
        except OSError:
            self._files.remove(staged)
            raise

    def _refused(self, step: int, error: OSError, needed: int) -> EnvironmentFault:
        """The message for a save the system refused."""
        committed = self._committed()
        last = committed[0].name if committed else "none"
        mega = 2**20
        why = error.strerror or str(error)
        if error.errno == errno.ENOSPC:
            why = f"disk full: needed {needed / mega:.0f} MB, free {_free_bytes(self.folder) / mega:.0f} MB"
        return EnvironmentFault(
            f"cannot write the checkpoint of step {step} under {self.folder}: {why}\n"
            f"last good checkpoint: {last}\nfree space or fix the folder, then continue with --resume"
        )

    def require_space(self, model: Mapping[str, Tensor]) -> None:
        """Refuse to begin a run whose checkpoints cannot fit.

        Raises:
            EnvironmentFault: less is free than ``keep`` + 1 checkpoints need.
        """
        # Momentum optimizers hold one value per weight and Adam two: three times the model is the upper bound.
        needed = (self.keep + 1) * 3 * sum(t.numel() * t.element_size() for t in model.values()) + _RESERVE_BYTES
        free = _free_bytes(self.folder)
        if free < needed:
            raise EnvironmentFault(
                f"checkpoints under {self.folder} need {needed / 2**20:.0f} MB, {free / 2**20:.0f} MB are free\n"
                "free space or name a folder on another disk with --out"
            )

    def clean(self) -> None:
        """Delete staged folders that a kill left behind; only while holding the run's lock."""
        for staged in self.folder.glob("step-*.tmp-*"):
            self._files.remove(staged)

    def latest(self) -> Checkpoint | None:
        """The newest whole checkpoint, or None when none was ever committed; ``rejected`` says what was passed over.

        Raises:
            FileRefusedError: there are checkpoints, and every one is damaged.
        """
        self.rejected, committed = [], self._committed()
        for path in committed:
            try:
                return _read(path)
            except FileRefusedError as error:
                self.rejected.append(f"passed over {error}")
        if committed:
            raise FileRefusedError("no checkpoint is whole\n" + "\n".join(self.rejected))
        return None

    def _committed(self) -> list[Path]:
        """Committed checkpoints, newest first."""
        found = [path for path in self.folder.glob("step-*") if path.name[5:].isdigit() and not path.is_symlink()]
        return sorted(found, key=lambda path: int(path.name[5:]), reverse=True)


def _read(path: Path) -> Checkpoint:
    """A checkpoint whose every byte is accounted for.

    Raises:
        FileRefusedError: naming the file and what is wrong with it.
    """
    manifest = _json(path / _MANIFEST)
    if manifest.get("format_version") != FORMAT_VERSION:
        raise FileRefusedError(f"{path}: format version {manifest.get('format_version')!r}, this is {FORMAT_VERSION}")
    present = {item.name for item in path.iterdir()}
    if present != {*_FILES, _MANIFEST} or set(manifest.get("files", ())) != set(_FILES):
        raise FileRefusedError(f"{path}: holds {sorted(present)}, expected {sorted([*_FILES, _MANIFEST])}")
    for name in _FILES:
        _verify(path / name, manifest["files"][name])
    state = _json(path / "state.json")
    try:
        model, tensors = (load_file(path / name) for name in _FILES[:2])
        optimizer = _join_optimizer(tensors, state.pop("optimizer"))
        return Checkpoint(int(state.pop("step")), model, optimizer, state, path)
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise FileRefusedError(f"{path}: {type(error).__name__}: {error}") from None


def _verify(file: Path, entry: Any) -> None:
    """Size and digest of one file against its manifest entry."""
    if file.is_symlink() or not file.is_file():
        raise FileRefusedError(f"{file}: not a regular file")
    if not isinstance(entry, dict) or file.stat().st_size != entry.get("bytes"):
        raise FileRefusedError(f"{file}: {file.stat().st_size} bytes, the manifest says otherwise")
    with file.open("rb") as handle:
        found = hashlib.file_digest(handle, "sha256").hexdigest() if _HAS_FILE_DIGEST else _digest(handle.read())
    if found != entry.get("sha256"):
        raise FileRefusedError(f"{file}: digest {found[:12]}…, the manifest says {str(entry.get('sha256'))[:12]}…")


_HAS_FILE_DIGEST = "file_digest" in dir(hashlib)  # Python 3.11


def _json(file: Path) -> dict[str, Any]:
    """A JSON mapping of bounded size."""
    try:
        if file.is_symlink() or file.stat().st_size > _MAX_JSON_BYTES:
            raise FileRefusedError(f"{file}: a link, or too large")
        loaded = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise FileRefusedError(f"{file}: {type(error).__name__}: not readable") from None
    if not isinstance(loaded, dict):
        raise FileRefusedError(f"{file}: not a mapping")
    return loaded


def _packed(tensors: Mapping[str, Tensor]) -> bytes:
    """Tensors as safetensors bytes; copies are made because the format allows no shared memory."""
    return save({name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()})


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _free_bytes(folder: Path) -> int:
    """Free bytes on the disk of a folder that may not exist yet."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def _require_finite(tensors: Mapping[str, Tensor], step: int) -> None:
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise TrainingError(f"{name} is not finite at step {step}: the checkpoint is refused, the last one is whole")


def _split_optimizer(optimizer: Mapping[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """An optimizer's ``state_dict`` as tensors by name and the JSON of everything else.

    Python writes floats with as many digits as read back to the same bits; tuples become lists, which torch accepts.
    """
    tensors: dict[str, Tensor] = {}
    scalars: dict[str, dict[str, Any]] = {}
    for index, values in optimizer["state"].items():
        scalars[str(index)] = {name: v for name, v in values.items() if not isinstance(v, Tensor)}
        tensors |= {f"{index}.{name}": v for name, v in values.items() if isinstance(v, Tensor)}
    return tensors, {"groups": optimizer["param_groups"], "scalars": scalars}


def _join_optimizer(tensors: Mapping[str, Tensor], structure: Mapping[str, Any]) -> dict[str, Any]:
    """The ``state_dict`` that :func:`_split_optimizer` took apart."""
    state: dict[int, dict[str, Any]] = {int(index): dict(values) for index, values in structure["scalars"].items()}
    for key, tensor in tensors.items():
        index, _, name = key.partition(".")
        state[int(index)][name] = tensor
    groups = [{**group, **_tuples(group)} for group in structure["groups"]]
    return {"state": state, "param_groups": groups}


def _tuples(group: Mapping[str, Any]) -> dict[str, Any]:
    """Group values that JSON turned into lists, but for the list of parameter numbers."""
    return {key: tuple(value) for key, value in group.items() if isinstance(value, list) and key != "params"}
