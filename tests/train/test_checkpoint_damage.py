import os
import random
import shutil

import pytest
import torch
from safetensors.torch import load_file
from safetensors.torch import save as packed

from selfstudy.disk.manifest import Tally, manifest_text
from selfstudy.errors import FileRefusedError
from selfstudy.train.checkpoint import CheckpointStore
from tests.train.crash_lab import FILES, Disk, check, names, save


def _flip(file, chance):
    content = bytearray(file.read_bytes())
    bit = chance.randrange(len(content) * 8)
    content[bit // 8] ^= 1 << bit % 8
    file.write_bytes(content)


def _truncate(file, chance):
    file.write_bytes(file.read_bytes()[: chance.randrange(file.stat().st_size)])


@pytest.mark.parametrize(("damage", "times"), [(_flip, 100), (_truncate, 50)])
def test_every_flipped_bit_and_cut_end_is_refused_by_name_and_the_one_before_used(tmp_path, damage, times):
    chance, folder = random.Random(times), tmp_path / "checkpoints"
    save(CheckpointStore(folder, files=Disk()), 10, 20)
    for trial in range(times):
        copy = tmp_path / str(trial)
        shutil.copytree(folder, copy)
        file = copy / "step-000000020" / chance.choice(FILES)
        damage(file, chance)
        store = CheckpointStore(copy)
        assert check(store.latest()) == 10
        assert len(store.rejected) == 1 and store.rejected[0].startswith(f"skipped {file}: ")
        assert store.rejected[0].endswith("; 10 steps are trained again")
        shutil.rmtree(copy / "step-000000010")
        with pytest.raises(FileRefusedError, match=f"no checkpoint under .* is whole\n.*{file.name}.*\nrestore one"):
            store.latest()


def test_a_damaged_checkpoint_makes_way_and_is_not_counted_as_kept(tmp_path):
    store = CheckpointStore(tmp_path, files=Disk())
    save(store, 10, 20)
    (tmp_path / "step-000000020" / "state.json").unlink()
    assert check(store.latest()) == 10
    save(store, 15)
    assert names(tmp_path) == ["step-000000010", "step-000000015"]


def test_a_damaged_checkpoint_is_replaced_when_training_comes_to_its_step_again(tmp_path):
    store = CheckpointStore(tmp_path, files=Disk())
    save(store, 10, 20)
    (tmp_path / "step-000000020" / "model.safetensors").write_bytes(b"")
    assert check(store.latest()) == 10
    save(store, 20)
    assert check(store.latest()) == 20 and names(tmp_path) == ["step-000000010", "step-000000020"]


def _unlink_manifest(path):
    (path / "MANIFEST.json").unlink()


def _unlink_file(path):
    (path / "optimizer.safetensors").unlink()


def _add_file(path):
    (path / "extra.bin").write_bytes(b"")


def _link_file(path):
    (path / "model.safetensors").rename(path.parent / "elsewhere")
    (path / "model.safetensors").symlink_to(path.parent / "elsewhere")


def _pipe(path):
    (path / "MANIFEST.json").unlink()
    os.mkfifo(path / "MANIFEST.json")


def _link_folder(path):
    path.rename(path.parent / "moved")
    path.symlink_to(path.parent / "moved")


def _rename_step(path):
    path.rename(path.with_name("step-000000030"))


def _no_folder(path):
    shutil.rmtree(path)
    path.write_bytes(b"")


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (_unlink_manifest, "step-000000020: 'MANIFEST.json' is missing"),
        (_unlink_file, "step-000000020: 'optimizer.safetensors' is missing"),
        (_add_file, "step-000000020: 'extra.bin' is found and does not belong there"),
        (_link_file, "model.safetensors: not a regular file"),
        (_pipe, "MANIFEST.json: not a regular file"),
        (_link_folder, "step-000000020: not a folder"),
        (_rename_step, "state.json: not the state of step 30"),
        (_no_folder, "step-000000020: not a folder"),
    ],
)
def test_a_folder_that_is_not_as_it_was_written_is_passed_over(tmp_path, harm, reason):
    store = CheckpointStore(tmp_path, files=Disk())
    save(store, 10, 20)
    harm(tmp_path / "step-000000020")
    assert check(store.latest()) == 10
    assert reason in store.rejected[0]


def _forge(path, name, content, *, version=1):
    """Replace a file and make the manifest agree, as somebody hostile would."""
    (path / name).write_bytes(content)
    entries = {}
    for file in FILES[:3]:
        tally = Tally([(path / file).read_bytes()])
        b"".join(tally)
        entries[file] = tally.entry()
    (path / "MANIFEST.json").write_bytes(manifest_text(entries, version))


# pickle.dumps of an object whose __reduce__ is os.system("touch canary")
PICKLE = b"\x80\x04c" + os.system.__module__.encode() + b"\nsystem\n\x8c\x0ctouch canary\x85R."


@pytest.mark.parametrize("name", FILES[:3])
@pytest.mark.parametrize(
    "content", [PICKLE, b"", b"\xff" * 64, b"[]", b"[" * 100_000], ids=["pickle", "", "ff", "list", "deep"]
)
def test_hostile_content_with_a_fitting_manifest_is_refused_and_not_run(tmp_path, monkeypatch, name, content):
    monkeypatch.chdir(tmp_path)
    store = CheckpointStore(tmp_path / "checkpoints", files=Disk())
    _forge(save(store, 1), name, content)
    with pytest.raises(FileRefusedError, match=name):
        store.latest()
    assert not (tmp_path / "canary").exists()


def test_a_header_larger_than_its_file_is_refused(tmp_path):
    store = CheckpointStore(tmp_path, files=Disk())
    _forge(save(store, 1), "model.safetensors", (2**62).to_bytes(8, "little") + b"{}")
    with pytest.raises(FileRefusedError, match="model.safetensors: "):
        store.latest()


def test_an_optimizer_entry_taken_out_is_named(tmp_path):
    store = CheckpointStore(tmp_path, files=Disk())
    path = save(store, 1)
    tensors = load_file(path / "optimizer.safetensors")
    name = next(name for name in tensors if name.endswith("exp_avg"))
    _forge(path, "optimizer.safetensors", packed({key: value for key, value in tensors.items() if key != name}))
    with pytest.raises(FileRefusedError, match=f"optimizer.safetensors: lacks '{name}'"):
        store.latest()
    _forge(path, "optimizer.safetensors", packed(tensors | {"surplus": torch.zeros(1)}))
    with pytest.raises(FileRefusedError, match="optimizer.safetensors: holds 'surplus', which nothing refers to"):
        store.latest()


def test_a_newer_format_is_refused_although_an_older_checkpoint_is_there(tmp_path):
    store = CheckpointStore(tmp_path, files=Disk())
    path = save(store, 1, 2)
    _forge(path, "state.json", (path / "state.json").read_bytes(), version=2)
    with pytest.raises(FileRefusedError, match=r"format version 2, this selfstudy reads up to 1\ninstall"):
        store.latest()
