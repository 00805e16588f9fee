"""The checkpoint store: a checkpoint is complete or absent, checked by digests, and never a pickle.

A checkpoint is written to ``step-N.tmp-PID`` next to its target: every file is synced, the manifest of sizes and
SHA-256 digests comes last, and the folder is renamed. A kill at any moment leaves the previous checkpoints as they
were. Only the process that holds the lock of the run may save and clean.
"""

import errno
import json
import math
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from selfstudy.disk.file_system import Bytes, FileSystem
from selfstudy.disk.manifest import MANIFEST, NewerFormat, Tally, manifest_text, verify
from selfstudy.disk.reading import read_json
from selfstudy.disk.tensor_file import byte_count, read_tensors, tensor_chunks
from selfstudy.errors import EnvironmentFault, FileRefusedError, TrainingError, UsageError, first_line
from selfstudy.train.old_keys import with_new_keys
from selfstudy.train.optimizer_state import join_state, split_state

_MODEL, _OPTIMIZER, _STATE = "model.safetensors", "optimizer.safetensors", "state.json"
_LARGEST = {_MODEL: 2**38, _OPTIMIZER: 2**39, _STATE: 2**26}  # bytes; far more than any encoder needs
_NAME = re.compile(r"step-(\d{9,})(\.old)?")
_RESERVE_BYTES = 64 * 2**20  # for logs and tables, which grow during the run
_MEGA = 2**20


class Checkpoint(NamedTuple):
    """A checkpoint that was read.

    Attributes:
        step: the number of optimizer steps done.
        model: the ``state_dict`` of the model.
        optimizer: the ``state_dict`` of the optimizer.
        state: the state of the run, plain data.
        path: the folder of the checkpoint.
    """

    step: int
    model: dict[str, Tensor]
    optimizer: dict[str, Any]
    state: dict[str, Any]
    path: Path

    def load_into(self, method: nn.Module) -> None:
        """Load the weights of this checkpoint into the method; they may have names of an earlier version.

        Raises:
            RuntimeError: the names or shapes are not those of the method.
        """
        method.load_state_dict(with_new_keys(self.model, method.state_dict().keys()), strict=True)


class CheckpointStore:
    """The checkpoints of one run.

    Args:
        folder: the folder of the checkpoints; it is made when the first one is saved.
        keep: the number of checkpoints to keep, at least 2: if the newest is damaged, the run goes on from another.
        files: the system calls.

    Attributes:
        rejected: one line for each checkpoint that the last :meth:`latest` skipped, with the reason.

    Raises:
        UsageError: ``keep`` is below 2.
    """

    def __init__(self, folder: Path, *, keep: int = 2, files: FileSystem | None = None) -> None:
        if keep < 2:
            raise UsageError(f"keep={keep} checkpoints would leave none if the newest is damaged; keep at least 2")
        self.folder, self.keep = folder, keep
        self.rejected: list[str] = []
        self._damaged: list[Path] = []
        self._files = files or FileSystem()

    def save(
        self, step: int, model: Mapping[str, Tensor], optimizer: Mapping[str, Any], state: Mapping[str, Any]
    ) -> Path:
        """Save the state after ``step`` optimizer steps, then delete the oldest checkpoints beyond ``keep``.

        Args:
            step: the number of optimizer steps done.
            model: the ``state_dict`` of the model; tensors may share memory.
            optimizer: the ``state_dict`` of a torch optimizer.
            state: plain data that JSON can hold.

        Returns:
            The folder of the checkpoint.

        Raises:
            TrainingError: a tensor or number is not finite; nothing is written.
            EnvironmentFault: the system refused twice; the earlier checkpoints are as they were.
        """
        tensors, structure = split_state(optimizer)
        _require_finite(model, step, "the model")
        _require_finite(tensors, step, "the optimizer")
        text = _state_text({"step": step, "state": state, "optimizer": structure})
        target = self.folder / f"step-{step:09d}"
        for last_try in (False, True):
            try:
                self._commit(target, _contents(model, tensors, text))
                break
            except OSError as error:
                self.clean()  # the disk may be full of what earlier kills left behind
                if last_try:
                    raise self._refused(step, error, byte_count(model) + byte_count(tensors) + len(text)) from error
        self._rotate(step)
        return target

    def _commit(self, target: Path, contents: Mapping[str, Iterable[Bytes]]) -> None:
        """Write, sync, rename, sync: in this order the checkpoint appears whole or not at all."""
        if not self.folder.is_dir():
            self._files.make_folder(self.folder)
            self._files.sync_folder(self.folder.parent)
        staged = target.with_name(f"{target.name}.tmp-{os.getpid()}")
        self._files.make_folder(staged)
        tallies = {name: Tally(chunks) for name, chunks in contents.items()}
        for name, tally in tallies.items():
            self._files.write(staged / name, tally)
        self._files.write(staged / MANIFEST, [manifest_text({name: tally.entry() for name, tally in tallies.items()})])
        self._files.sync_folder(staged)
        if os.path.lexists(target):
            # The step was saved before, or is damaged. It is not deleted but renamed, to a name that latest() finds.
            aside = target.with_name(f"{target.name}.old")
            if os.path.lexists(aside):
                self._discard(aside)
            self._files.rename(target, aside)
        self._files.rename(staged, target)
        self._files.sync_folder(self.folder)

    def _rotate(self, step: int) -> None:
        """Delete the oldest beyond ``keep``, and damaged and replaced ones, but never the one that was just saved."""
        older = [path for path in self._committed() if _step(path) < step and path not in self._damaged]
        for path in [*older[self.keep - 1 :], *self._replaced(), *self._damaged]:
            if path.name != f"step-{step:09d}" and os.path.lexists(path):
                self._discard(path)
        self._damaged = []

    def _discard(self, path: Path) -> None:
        """Delete a folder. It is renamed first, so that a kill half-way leaves no damaged checkpoint."""
        try:
            if _NAME.fullmatch(path.name):
                stale = path.with_name(f"{path.name}.tmp-{os.getpid()}")
                self._files.rename(path, stale)
                path = stale
            self._files.remove(path)
        except OSError:
            pass  # it only takes space; the next save or clean tries again

    def _refused(self, step: int, error: OSError, needed: int) -> EnvironmentFault:
        """The error for a save that the system refused."""
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        committed = self._committed()
        return EnvironmentFault(
            f"{'disk full' if full else error.strerror or error} while writing the checkpoint of step {step} under "
            f"{self.folder}: needed {needed / _MEGA:.1f} MB, free {self._free_bytes() / _MEGA:.1f} MB\n"
            f"last good checkpoint: {f'step {_step(committed[0])}' if committed else 'none'}\n"
            "free space or repair the folder, then continue with --resume"
        )

    def preflight(self, size: int) -> None:
        """Raise unless there is enough space for checkpoints of ``size`` bytes.

        Raises:
            EnvironmentFault: the free space is below 64 MB plus that of ``keep`` + 1 checkpoints, minus those that
                will be replaced.
        """
        there = min(self.keep, len(self._committed()))
        needed = (self.keep + 1 - there) * size + _RESERVE_BYTES
        free = self._free_bytes()
        if free < needed:
            raise EnvironmentFault(
                f"checkpoints under {self.folder} need {needed / _MEGA:,.0f} MB, {free / _MEGA:,.0f} MB are free\n"
                "free space, or name a folder on another disk with --out"
            )

    def _free_bytes(self) -> float:
        """The free bytes on the disk of the checkpoints; NaN, which compares as enough, if the system does not say."""
        try:
            return self._files.free_bytes(self.folder)
        except OSError:
            return math.nan

    def require_space(self, model: Mapping[str, Tensor]) -> None:
        """Raise unless there is enough space for checkpoints of a model and its optimizer.

        The optimizer has no state yet; that of Adam is the largest, with two values for each weight.

        Raises:
            EnvironmentFault: the free space is below 64 MB plus that of ``keep`` + 1 checkpoints, minus those that
                will be replaced.
        """
        self.preflight(3 * byte_count(model))

    def clean(self) -> None:
        """Delete what kills left behind: unfinished folders, and checkpoints that were replaced by new ones."""
        for path in [*self.folder.glob("step-*.tmp-*"), *self._replaced()]:
            self._discard(path)

    def latest(self) -> Checkpoint | None:
        """The newest whole checkpoint; None if there are no checkpoints.

        Raises:
            FileRefusedError: a later version of selfstudy wrote the newest one, or all are damaged.
            EnvironmentFault: the folder cannot be listed.
        """
        reasons: list[str] = []
        self._damaged, self.rejected = [], reasons
        for path in self._committed():
            try:
                found = _read(path)
            except NewerFormat:
                raise
            except FileRefusedError as error:
                reasons.append(f"skipped {error}")
                self._damaged.append(path)
                continue
            lost = [_step(path) - found.step for path in self._damaged]
            self.rejected = [f"{why}; {n} steps are trained again" for why, n in zip(reasons, lost, strict=True)]
            return found
        if reasons:
            raise FileRefusedError(
                f"no checkpoint under {self.folder} is whole\n"
                + "\n".join(reasons)
                + "\nrestore one, or start a new run"
            )
        return None

    def _committed(self) -> list[Path]:
        """The complete checkpoints, newest first; of the same step, the one that was renamed comes last."""
        try:
            names = os.listdir(self.folder)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise EnvironmentFault(f"cannot list the checkpoints in {self.folder}: {error.strerror}") from None
        found = [self.folder / name for name in names if _NAME.fullmatch(name)]
        return sorted(found, key=lambda path: (_step(path), path.suffix != ".old"), reverse=True)

    def _replaced(self) -> list[Path]:
        """The checkpoints that were renamed and whose successor is complete."""
        return [path for path in self.folder.glob("step-*.old") if os.path.lexists(path.with_suffix(""))]


def _step(path: Path) -> int:
    """The step in the name of a checkpoint."""
    return int(path.name.removesuffix(".old")[len("step-") :])


def _contents(model: Mapping[str, Tensor], tensors: Mapping[str, Tensor], text: bytes) -> dict[str, Iterable[Bytes]]:
    """The files of a checkpoint as chunks, which can be iterated over once."""
    return {_MODEL: tensor_chunks(model), _OPTIMIZER: tensor_chunks(tensors), _STATE: [text]}


def _read(path: Path) -> Checkpoint:
    """The checkpoint in a folder, after all digests are checked.

    Raises:
        FileRefusedError: something is wrong; the message names the file.
    """
    verify(path, _LARGEST)
    content = read_json(path / _STATE, _LARGEST[_STATE])
    if content.get("step") != _step(path) or not isinstance(content.get("state"), dict):
        raise FileRefusedError(f"{path / _STATE}: not the state of step {_step(path)}")
    reading = path / _MODEL
    try:
        model = read_tensors(reading)
        reading = path / _OPTIMIZER
        optimizer = join_state(content.get("optimizer"), read_tensors(reading))
    except (SafetensorError, OSError, TypeError, ValueError, KeyError, RuntimeError) as error:
        raise FileRefusedError(f"{reading}: {first_line(error)}") from None
    return Checkpoint(content["step"], model, optimizer, content["state"], path)


def _state_text(content: Mapping[str, object]) -> bytes:
    """The content of ``state.json``.

    Raises:
        TrainingError: a number is not finite, which JSON cannot hold.
    """
    try:
        return json.dumps(content, allow_nan=False).encode()
    except ValueError as error:
        raise TrainingError(
            f"the run's state at step {content['step']} cannot be kept: {error}\n"
            "nothing was written; the last checkpoint is whole"
        ) from None


def _require_finite(tensors: Mapping[str, Tensor], step: int, whose: str) -> None:
    """Raise if a tensor is not finite: no run could continue from it."""
    for name, tensor in tensors.items():
        if not _is_finite(tensor):
            raise TrainingError(
                f"{whose}'s {name!r} is not finite at step {step}\n"
                "nothing was written; the last checkpoint is whole\nstart a new run with a lower optimizer.lr"
            )


def _is_finite(tensor: Tensor) -> bool:
    """True if no element is infinite or NaN; no temporary of the size of the tensor is made."""
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor)
    if not tensor.is_floating_point() or tensor.numel() == 0:
        return True
    extremes = torch.stack(torch.aminmax(tensor.float() if tensor.element_size() == 1 else tensor))
    return bool(torch.isfinite(extremes).all())
