import json
import os
import stat

import pytest
import torch
from torch import nn

from selfstudy.errors import EnvironmentFault, TrainingError, UsageError
from selfstudy.optim.groups import parameter_groups
from selfstudy.optim.optimizer import build_optimizer
from selfstudy.train.checkpoint import CheckpointStore
from tests.train.crash_lab import FILES, Disk, arguments, check, names, save


def test_no_folder_is_no_checkpoint(tmp_path):
    assert CheckpointStore(tmp_path / "none").latest() is None


def test_a_saved_state_comes_back(tmp_path):
    store = CheckpointStore(tmp_path / "checkpoints")
    path = save(store, 120)
    assert path == tmp_path / "checkpoints" / "step-000000120" and names(path) == sorted(FILES)
    found = store.latest()
    assert check(found) == 120 and found.path == path and store.rejected == []


def test_the_newest_of_ten_is_found_and_two_are_kept(tmp_path):
    store = CheckpointStore(tmp_path, files=Disk())
    save(store, *range(1, 11))
    assert check(store.latest()) == 10
    assert names(tmp_path) == ["step-000000009", "step-000000010"]


def test_keeping_fewer_than_two_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"keep=1 checkpoints would leave none .* keep at least 2"):
        CheckpointStore(tmp_path, keep=1)


def test_steps_are_ordered_as_numbers_beyond_nine_digits(tmp_path):
    store = CheckpointStore(tmp_path, files=Disk())
    save(store, 999_999_999, 1_000_000_000)
    assert check(store.latest()) == 1_000_000_000


def test_a_save_writes_syncs_renames_and_syncs_in_that_order(tmp_path):
    disk = Disk()
    store = CheckpointStore(tmp_path / "checkpoints", files=disk)
    save(store, 1)
    staged = f"step-000000001.tmp-{os.getpid()}"
    files = [(call, name) for name in FILES for call in ("write", "sync")]
    begin = [("mkdir", "checkpoints"), ("sync", tmp_path.name), ("mkdir", staged)]
    assert disk.log == [*begin, *files, ("sync", staged), ("rename", staged), ("sync", "checkpoints")]


def test_an_old_checkpoint_is_deleted_only_after_the_new_one_is_committed(tmp_path):
    disk = Disk()
    store = CheckpointStore(tmp_path, files=disk)
    save(store, 1, 2, 3)
    calls = disk.log[disk.log.index(("rename", f"step-000000003.tmp-{os.getpid()}")) :]
    assert calls[1:] == [
        ("sync", tmp_path.name),
        ("rename", "step-000000001"),
        ("remove", f"step-000000001.tmp-{os.getpid()}"),
    ]


def test_files_reach_the_disk_through_fsync(tmp_path, monkeypatch):
    synced, fsync = [], os.fsync
    monkeypatch.setattr(os, "fsync", lambda handle: (synced.append(os.fstat(handle).st_ino), fsync(handle)))
    path = save(CheckpointStore(tmp_path), 1)
    inodes = [(path / name).stat().st_ino for name in FILES]
    assert synced == [*inodes, path.stat().st_ino, tmp_path.stat().st_ino]


@pytest.mark.parametrize(("umask", "file_mode", "folder_mode"), [(0o022, 0o644, 0o755), (0o077, 0o600, 0o700)])
def test_files_and_folders_get_the_modes_the_umask_leaves(tmp_path, umask, file_mode, folder_mode):
    before = os.umask(umask)
    try:
        path = save(CheckpointStore(tmp_path / "checkpoints"), 1)
    finally:
        os.umask(before)
    assert {stat.S_IMODE((path / name).stat().st_mode) for name in FILES} == {file_mode}
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(path.parent.stat().st_mode) == folder_mode


def test_a_run_begins_only_where_its_checkpoints_fit(tmp_path):
    megabyte = 2**20
    fits = CheckpointStore(tmp_path, keep=2, files=Disk(free=(3 * 100 + 64) * megabyte))
    fits.preflight(100 * megabyte)
    tight = CheckpointStore(tmp_path, keep=2, files=Disk(free=(3 * 100 + 63) * megabyte))
    with pytest.raises(EnvironmentFault, match="need 364 MB, 363 MB are free"):
        tight.preflight(100 * megabyte)
    with pytest.raises(EnvironmentFault, match="--out"):
        tight.require_space({"w": torch.zeros(100 * megabyte // 12 + 8)})


def test_checkpoints_that_will_make_way_count_as_space_on_resume(tmp_path):
    store = CheckpointStore(tmp_path, files=Disk(free=164 * 2**20))
    with pytest.raises(EnvironmentFault):
        store.preflight(100 * 2**20)
    save(store, 1, 2)
    store.preflight(100 * 2**20)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("where", ["model", "optimizer", "state"])
def test_what_is_not_finite_is_never_written(tmp_path, bad, where):
    step, model, optimizer, state = arguments(2)
    if where == "model":
        model["w"][1, 1] = bad
    elif where == "optimizer":
        optimizer["state"][0]["exp_avg"][0, 0] = bad
    else:
        state["loss"] = bad
    store = CheckpointStore(tmp_path)
    save(store, 1)
    with pytest.raises(TrainingError, match="at step 2.*\nnothing was written; the last checkpoint is whole"):
        store.save(step, model, optimizer, state)
    assert names(tmp_path) == ["step-000000001"]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16, torch.float8_e5m2, torch.complex64])
def test_non_finite_values_are_seen_in_every_type(tmp_path, dtype):
    store = CheckpointStore(tmp_path, files=Disk())
    values = torch.tensor([1.0, float("inf")]).to(dtype)
    store.save(1, {"w": values[:1], "none": values[:0]}, {"state": {}, "param_groups": []}, {})
    with pytest.raises(TrainingError, match="the model's 'w' is not finite"):
        store.save(2, {"w": values}, {"state": {}, "param_groups": []}, {})


def test_the_largest_finite_numbers_are_kept(tmp_path):
    store = CheckpointStore(tmp_path, files=Disk())
    extremes = torch.tensor([torch.finfo(torch.float32).max, -torch.finfo(torch.float32).max])
    store.save(1, {"w": extremes}, {"state": {}, "param_groups": []}, {})
    assert torch.equal(store.latest().model["w"], extremes)


def test_a_folder_that_cannot_be_listed_is_not_taken_for_an_empty_one(tmp_path):
    (tmp_path / "checkpoints").write_text("")
    with pytest.raises(EnvironmentFault, match="cannot list the checkpoints in .*: Not a directory"):
        CheckpointStore(tmp_path / "checkpoints").latest()


def test_other_files_next_to_the_checkpoints_are_left_alone(tmp_path):
    store = CheckpointStore(tmp_path, files=Disk())
    for name in ("step-000000001.bak", "step-best", "notes"):
        (tmp_path / name).mkdir()
    save(store, 1, 2, 3)
    store.clean()
    assert {"step-000000001.bak", "step-best", "notes"} <= set(names(tmp_path))
    assert check(store.latest()) == 3


def test_what_was_read_does_not_depend_on_its_file_any_more(tmp_path):
    store = CheckpointStore(tmp_path)
    path = save(store, 7)
    found = store.latest()
    for name in FILES[:2]:
        with open(path / name, "r+b") as file:
            file.write(b"\xff" * (path / name).stat().st_size)
    assert check(found) == 7


def test_the_run_state_is_plain_json_that_other_tools_read(tmp_path):
    path = save(CheckpointStore(tmp_path), 3)
    content = json.loads((path / "state.json").read_text())
    assert content["step"] == 3 and content["state"] == {"elapsed_seconds": 1.0}


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3))
        self.frozen = nn.Parameter(torch.ones(2), requires_grad=False)

    def forward(self, x):
        return self.body(x).square().mean()


def _trainer(name):
    torch.manual_seed(0)
    network = Network().to(memory_format=torch.channels_last)
    return network, build_optimizer(parameter_groups(network), name=name, lr=0.1, weight_decay=0.01)


def _train(network, optimizer, steps):
    for step in steps:
        optimizer.zero_grad()
        network(torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(step))).backward()
        optimizer.step()


@pytest.mark.parametrize("name", ["adamw", "sgd", "lars"])
def test_training_goes_on_from_a_checkpoint_bit_for_bit_in_channels_last_too(tmp_path, name):
    straight, optimizer = _trainer(name)
    _train(straight, optimizer, range(6))
    network, first = _trainer(name)
    _train(network, first, range(3))
    store = CheckpointStore(tmp_path)
    store.save(3, network.state_dict(), first.state_dict(), {})
    found = store.latest()
    resumed, second = _trainer(name)
    resumed.load_state_dict(found.model)
    second.load_state_dict(found.optimizer)
    _train(resumed, second, range(3, 6))
    assert all(
        torch.equal(a, b) for a, b in zip(straight.state_dict().values(), resumed.state_dict().values(), strict=True)
    )
    for a, b in zip(optimizer.state.values(), second.state.values(), strict=True):
        assert a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_tied_weights_are_saved_and_stay_tied_when_loaded(tmp_path):
    network = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    network[1].weight = network[0].weight
    store = CheckpointStore(tmp_path)
    store.save(1, network.state_dict(), torch.optim.SGD(network.parameters(), lr=0.1).state_dict(), {})
    with torch.no_grad():
        network[0].weight.zero_()
    network.load_state_dict(store.latest().model)
    assert network[1].weight is network[0].weight and bool(network[0].weight.any())
