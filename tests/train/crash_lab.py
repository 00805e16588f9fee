"""A disk that fails where it is told to, and checkpoints whose content follows from their number."""

import errno

import torch

from selfstudy.disk.file_system import FileSystem

FILES = ["model.safetensors", "optimizer.safetensors", "state.json", "MANIFEST.json"]


class Disk(FileSystem):
    """A file system that keeps a log, does not wait for the disk, and fails where it is told to."""

    def __init__(self, *, fail_at=0, persistently=False, error=None, capacity=None, free=10**12):
        self.log, self.fail_at, self.persistently = [], fail_at, persistently
        self.error, self.capacity, self.free = error or OSError(errno.EIO, "Input/output error"), capacity, free

    def _enter(self, call, path):
        self.log.append((call, path.name))
        number = len(self.log)
        if self.fail_at and (number == self.fail_at or (self.persistently and number > self.fail_at)):
            raise self.error

    def make_folder(self, path):
        self._enter("mkdir", path)
        super().make_folder(path)

    def write(self, path, chunks):
        self._enter("write", path)
        super().write(path, self._metered(chunks))

    def _metered(self, chunks):
        for chunk in chunks:
            if self.capacity is not None:
                self.capacity -= len(chunk)
                if self.capacity < 0:
                    yield bytes(chunk)[: self.capacity]
                    raise OSError(errno.ENOSPC, "No space left on device")
            yield chunk

    def sync(self, handle, path):
        self._enter("sync", path)

    def rename(self, source, target):
        self._enter("rename", source)
        super().rename(source, target)

    def remove(self, path):
        self._enter("remove", path)
        super().remove(path)

    def free_bytes(self, path):
        return self.free


class Killed(BaseException):
    """Ends a save on the spot, as kill -9 does: nothing is cleaned up."""


def arguments(step):
    """A state that is a function of the step, so that a checkpoint can be checked against its number."""
    values = torch.full((3, 2), float(step))
    groups = [{"lr": step / 7, "betas": (0.9, 0.999), "params": [0]}]
    optimizer = {"state": {0: {"step": torch.tensor(float(step)), "exp_avg": values / 3}}, "param_groups": groups}
    return step, {"w": values, "n": torch.tensor(step)}, optimizer, {"elapsed_seconds": step / 3}


def save(store, *steps):
    for step in steps:
        path = store.save(*arguments(step))
    return path


def check(found):
    step, model, optimizer, state = arguments(found.step)
    assert torch.equal(found.model["w"], model["w"]) and found.model["n"].item() == step
    assert found.optimizer["param_groups"] == optimizer["param_groups"]
    assert torch.equal(found.optimizer["state"][0]["exp_avg"], optimizer["state"][0]["exp_avg"])
    assert found.state == state
    return step


def names(folder):
    return sorted(item.name for item in folder.iterdir())
