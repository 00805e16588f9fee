import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from selfstudy.errors import EnvironmentFault
from selfstudy.train.checkpoint import CheckpointStore
from tests.train.crash_lab import Disk, Killed, check, names, save


def _calls_of_a_third_save(folder):
    disk = Disk()
    store = CheckpointStore(folder, files=disk)
    save(store, 1, 2)
    before = len(disk.log)
    save(store, 3)
    return len(disk.log) - before


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EACCES])
@pytest.mark.parametrize("persistently", [False, True])
def test_every_failing_call_leaves_a_whole_checkpoint(tmp_path, code, persistently):
    calls = _calls_of_a_third_save(tmp_path / "count")
    assert calls >= 14
    refused = []
    for number in range(1, calls + 1):
        folder = tmp_path / str(number)
        save(CheckpointStore(folder, files=Disk()), 1, 2)
        disk = Disk(fail_at=number, persistently=persistently, error=OSError(code, os.strerror(code)))
        try:
            save(CheckpointStore(folder, files=disk), 3)
        except EnvironmentFault:
            refused.append(number)
        store = CheckpointStore(folder)
        found = check(store.latest())
        assert found == 3 if number not in refused else found in (2, 3)
        assert store.rejected == []
        store.clean()
        assert not [name for name in names(folder) if "tmp" in name or "old" in name]
    # One failure is retried; for good, every call up to the commit refuses, and the deletion of old ones does not.
    assert refused == (list(range(1, calls - 1)) if persistently else [])


def test_a_kill_at_every_call_leaves_this_checkpoint_or_the_one_before(tmp_path):
    seen = []
    for number in range(1, _calls_of_a_third_save(tmp_path / "count") + 1):
        folder = tmp_path / str(number)
        save(CheckpointStore(folder, files=Disk()), 1, 2)
        with pytest.raises(Killed):
            save(CheckpointStore(folder, files=Disk(fail_at=number, error=Killed())), 3)
        store = CheckpointStore(folder, files=Disk())
        store.clean()
        seen.append(check(store.latest()))
        assert store.rejected == []
        save(store, 3, 4)
        assert check(store.latest()) == 4 and len(names(folder)) == 2
    assert seen == sorted(seen) and set(seen) == {2, 3}


def test_a_kill_while_a_step_is_saved_again_never_loses_its_only_checkpoint(tmp_path):
    disk = Disk()
    save(CheckpointStore(tmp_path / "count", files=disk), 5, 5)
    for number in range(1, len(disk.log)):
        folder = tmp_path / str(number)
        save(CheckpointStore(folder, files=Disk()), 5)
        try:
            save(CheckpointStore(folder, files=Disk(fail_at=number, error=Killed())), 5)
        except Killed:
            pass
        store = CheckpointStore(folder, files=Disk())
        store.clean()
        assert check(store.latest()) == 5
        save(store, 5)
        assert names(folder) == ["step-000000005"]


def test_a_full_disk_keeps_the_last_checkpoint_and_says_how_to_go_on(tmp_path):
    save(CheckpointStore(tmp_path), 50)
    store = CheckpointStore(tmp_path, files=Disk(capacity=100, free=37_000_000))
    with pytest.raises(EnvironmentFault) as caught:
        store.save(60, {"w": torch.zeros(2**18)}, {"state": {}, "param_groups": []}, {})
    assert str(caught.value) == (
        f"disk full while writing the checkpoint of step 60 under {tmp_path}: needed 1.0 MB, free 35.3 MB\n"
        "last good checkpoint: step 50\nfree space or repair the folder, then continue with --resume"
    )
    assert names(tmp_path) == ["step-000000050"] and check(CheckpointStore(tmp_path).latest()) == 50


def test_a_disk_that_fills_up_ends_the_run_and_a_larger_one_continues_it(tmp_path):
    store = CheckpointStore(tmp_path, files=Disk(capacity=10_000))
    with pytest.raises(EnvironmentFault, match="disk full"):
        save(store, *range(1, 100))
    last = check(CheckpointStore(tmp_path).latest())
    assert last > 3
    store = CheckpointStore(tmp_path, files=Disk())
    save(store, last + 1)
    assert check(store.latest()) == last + 1


def test_space_that_a_kill_left_occupied_is_freed_before_the_second_try(tmp_path):
    stale = tmp_path / "step-000000009.tmp-1"
    stale.mkdir()
    (stale / "model.safetensors").write_bytes(b"x" * 1000)

    class Small(Disk):
        def write(self, path, chunks):
            self.error = OSError(errno.ENOSPC, "No space left on device")
            self.fail_at = len(self.log) + 1 if stale.exists() else 0
            super().write(path, chunks)

    store = CheckpointStore(tmp_path, files=Small())
    save(store, 1)
    assert check(store.latest()) == 1 and not stale.exists()


def test_a_folder_that_cannot_be_written_is_named_with_the_reason(tmp_path):
    disk = Disk(fail_at=1, persistently=True, error=OSError(errno.EACCES, "Permission denied"))
    with pytest.raises(EnvironmentFault, match=r"Permission denied while writing .* under .*\nlast good .*: none\n"):
        save(CheckpointStore(tmp_path, files=disk), 1)


SAVE_UNTIL_KILLED = """
import os, random, signal, sys, time
from pathlib import Path
import torch
from selfstudy.train.checkpoint import CheckpointStore

torch.set_num_threads(1)  # a forked child of a parent with an OpenMP pool hangs in its first parallel region
folder, kills = Path(sys.argv[1]), int(sys.argv[2])
chance = random.Random(kills)

def content(step):
    values = torch.full((200, 300), float(step))
    groups = [{"lr": step / 7, "params": [0]}]
    return {"w": values}, {"state": {0: {"exp_avg": values / 3}}, "param_groups": groups}, {"n": step}

def save_forever(step):
    store = CheckpointStore(folder)
    store.clean()
    while True:
        step += 1
        store.save(step, *content(step))

last = midway = 0
for _ in range(kills):
    child = os.fork()
    if child == 0:
        save_forever(last)
    started = time.monotonic()
    while not any(int(path.name[5:]) > last for path in folder.glob("step-?????????")):  # else nothing to lose yet
        time.sleep(0.001)
    time.sleep(chance.uniform(0, time.monotonic() - started))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    midway += bool(list(folder.glob("*.tmp-*")))
    store = CheckpointStore(folder)
    found = store.latest()
    assert not store.rejected, store.rejected
    if found is not None:
        model, optimizer, state = content(found.step)
        assert found.step >= last and torch.equal(found.model["w"], model["w"]) and found.state == state
        assert torch.equal(found.optimizer["state"][0]["exp_avg"], optimizer["state"][0]["exp_avg"])
        last = found.step
print(last, midway)
"""


def _kill_often(folder: Path, kills: int) -> tuple[int, int]:
    """The last step reached, and how many kills hit a save midway."""
    command = [sys.executable, "-c", SAVE_UNTIL_KILLED, str(folder), str(kills)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    last, midway = map(int, done.stdout.split())
    return last, midway


def test_eight_kills_while_saving_leave_a_whole_newest_checkpoint(tmp_path):
    last, _ = _kill_often(tmp_path, 8)
    assert last >= 8


@pytest.mark.slow
def test_forty_kills_while_saving_leave_a_whole_newest_checkpoint(tmp_path):
    last, midway = _kill_often(tmp_path, 40)
    assert last >= 40 and midway > 10


MEASURE_MEMORY = """
import resource, sys
from pathlib import Path
import torch
from selfstudy.train.checkpoint import CheckpointStore

size = 500 * 2**20
model = {f"layer{i}": torch.ones(size // 20) for i in range(5)}
CheckpointStore(Path(sys.argv[1])).save(1, {"w": torch.ones(3)}, {"state": {}, "param_groups": []}, {})
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
CheckpointStore(Path(sys.argv[1])).save(2, model, {"state": {}, "param_groups": []}, {})
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / size)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in kilobytes on Linux only")
def test_saving_half_a_gigabyte_takes_less_than_a_tenth_of_it_in_memory(tmp_path):
    command = [sys.executable, "-c", MEASURE_MEMORY, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert float(done.stdout) < 0.1
