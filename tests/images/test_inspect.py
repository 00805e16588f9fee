"""The pictures of small runs: their names, their content, and the errors if none can be drawn."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

import selfstudy
from selfstudy.cli import main
from selfstudy.errors import DataError, EnvironmentFault, FileRefusedError, UsageError
from selfstudy.images.inspect import _frequencies
from selfstudy.methods.base import Method, MethodConfig, Recipe, StepOutput
from selfstudy.methods.reads import Images
from selfstudy.views.spec import Draws, Labels, View

QUICK = {"steps": 2, "batch_size": 8, "image_size": 16, "device": "cpu", "precision": "fp32"}
SMALL_VIT = {"encoder": "test_vit", "set": {"encoder.patch_size": 4}}


class Blanks(Method):
    """Blanks the left half of an image and rebuilds it from the right one; asks for draws and labels as well."""

    family, reads = "masked prediction", Images(labels=True)

    class Config(MethodConfig):
        pass

    @staticmethod
    def default_views(size, channels=3):
        return [View(size), Draws(2), Labels()]

    @staticmethod
    def recipe(facts):
        return Recipe({"name": "adamw", "lr": 1e-3, "weight_decay": 0.0}, {}, {})

    def forward(self, views, progress):
        embedding = self.encoder(views[0])
        return StepOutput(embedding.square().mean(), {}, embedding.detach())

    def pictures(self, views):
        image, draws, labels = views
        assert not self.training and draws.shape == (len(image), 2) and labels.shape == (len(image),)
        masked = image.clone()
        masked[..., : image.shape[-1] // 2] = 0
        return {"masked": masked, "reconstruction": image.flip(-1)}


def _pixels(file):
    with Image.open(file) as picture:
        return np.asarray(picture)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two classes of twelve colour images, and one that is damaged."""
    root, chance = tmp_path_factory.mktemp("pictures") / "data", np.random.default_rng(0)
    for number in range(24):
        path = root / ("dark" if number % 2 else "light") / f"{number:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = chance.integers(0, 80, (20, 28, 3)) + 170 * (number % 2 == 0)
        Image.fromarray(pixels.astype(np.uint8)).save(path)
    (root / "dark" / "99.png").write_bytes(b"broken")
    return root


@pytest.fixture(scope="module")
def run(folder):
    torch.set_num_threads(1)
    return selfstudy.pretrain(folder, out=folder.parent / "simclr", encoder="resnet10t", **QUICK)


@pytest.fixture(scope="module")
def dino(folder):
    return selfstudy.pretrain(folder, out=folder.parent / "dino", method="dino", **SMALL_VIT, **QUICK)


def test_every_run_has_neighbours_in_its_own_folder(run, folder):
    files = run.inspect(folder)
    assert files == [run.folder / "pictures" / "neighbours.png"]
    picture = _pixels(files[0])
    assert picture.shape == (4 + 8 * (96 + 14 + 4), 4 + 9 * 100, 3)  # eight queries with eight neighbours each


def test_neighbours_are_shown_with_the_images_the_encoder_saw(run, folder, tmp_path):
    (file,) = run.inspect(folder / "light", out=tmp_path / "new" / "place")
    assert file == tmp_path / "new" / "place" / "neighbours.png"
    picture = _pixels(file)
    cells = [picture[4 + r * 114 : 100 + r * 114, 4 + c * 100 : 100 + c * 100] for r in range(8) for c in range(9)]
    assert all(cell.min() >= 170 and cell.max() < 250 for cell in cells)


def test_a_vision_transformer_with_prototypes_has_attention_and_prototypes(dino, folder):
    names = [file.name for file in dino.inspect(folder)]
    assert names == ["neighbours.png", "attention.png", "prototypes.png"]
    attention, prototypes = (_pixels(dino.folder / "pictures" / name) for name in names[1:])
    heads = selfstudy.load(dino.folder).encoder.network.blocks[-1].attn.num_heads
    assert attention.shape == (4 + 8 * 114, 4 + (2 + heads) * 100, 3)
    rows, rest = divmod(len(prototypes) - 4, 114)
    assert 1 <= rows <= 12 and rest == 0


def test_a_method_that_draws_is_shown_its_own_views(folder, monkeypatch, tmp_path):
    for name in ("drawing", "drawing.blanks"):
        monkeypatch.setitem(sys.modules, name, sys.modules[__name__])
    monkeypatch.setattr("selfstudy.methods.find_spec", lambda name: name)
    monkeypatch.setattr("selfstudy.methods._only_method", lambda name: Blanks)
    settings = {"method": "drawing.blanks", "encoder": "resnet10t"} | QUICK
    run = selfstudy.pretrain(folder, out=tmp_path / "run", **settings)
    files = run.inspect(folder)
    assert [file.name for file in files] == ["neighbours.png", "reconstructions.png"]
    picture = _pixels(files[1]).astype(int)
    view, masked, rebuilt = (picture[4:100, 4 + c * 100 : 100 + c * 100] for c in range(3))
    assert np.abs(view - rebuilt[:, ::-1]).max() <= 1 and np.array_equal(view[:, 48:], masked[:, 48:])
    assert masked[:, :48].std(axis=(0, 1)).max() == 0, "blank is the mean of the data"


def test_the_same_run_and_data_give_the_same_pictures(run, folder, tmp_path):
    first, second = (run.inspect(folder, out=tmp_path / name)[0].read_bytes() for name in "ab")
    assert first == second


def test_an_unfinished_run_is_shown_as_it_is(run, folder, tmp_path):
    shutil.copytree(run.folder, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "encoder")
    assert selfstudy.inspect(tmp_path / "run", folder)


def test_a_run_from_before_some_settings_of_training_is_shown(run, folder, tmp_path):
    shutil.copytree(run.folder, tmp_path / "run")
    written = yaml.safe_load((run.folder / "config.yaml").read_text())
    for name in ("compile", "accumulate", "workers", "precision", "devices"):
        del written["train"][name]
    (tmp_path / "run" / "config.yaml").write_text(yaml.safe_dump(written))
    (picture,) = selfstudy.inspect(tmp_path / "run", folder)
    assert picture.read_bytes() == run.inspect(folder, out=tmp_path / "now")[0].read_bytes()


def test_a_missing_run_and_a_missing_checkpoint_are_errors(run, folder, tmp_path):
    with pytest.raises(UsageError, match="is not a run folder"):
        selfstudy.inspect(tmp_path, folder)
    (tmp_path / "config.yaml").write_bytes((run.folder / "config.yaml").read_bytes())
    with pytest.raises(UsageError, match=r"holds no checkpoint yet\ncontinue: selfstudy pretrain .* --resume"):
        selfstudy.inspect(tmp_path, folder)


def test_a_checkpoint_of_another_configuration_is_refused(run, folder, tmp_path):
    shutil.copytree(run.folder, tmp_path / "run")
    text = (tmp_path / "run" / "config.yaml").read_text()
    (tmp_path / "run" / "config.yaml").write_text(text.replace("projection_dim: 128", "projection_dim: 64"))
    with pytest.raises(FileRefusedError, match="does not fit .*config.yaml"):
        selfstudy.inspect(tmp_path / "run", folder)


@pytest.mark.parametrize(("count", "text"), [(0, "0 of 2 images"), (1, "1 of 3 images")])
def test_data_that_cannot_be_read_is_an_error_with_the_reasons(run, tmp_path, count, text):
    for number in range(count):
        Image.new("RGB", (16, 16)).save(tmp_path / f"{number}.png")
    for name in ("bad.png", "worse.png"):
        (tmp_path / name).write_bytes(b"broken")
    with pytest.raises(DataError, match=rf"{text} of .* could be read, neighbours need 2\n  bad\.png: "):
        run.inspect(tmp_path)


def test_a_folder_that_cannot_be_written_is_an_error(run, folder, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentFault, match="cannot write pictures into"):
        run.inspect(folder, out=tmp_path / "file")


def test_two_images_are_enough(run, tmp_path):
    for number in range(2):
        Image.new("RGB", (16, 16), (90 * number, 0, 0)).save(tmp_path / f"{number}.png")
    assert _pixels(run.inspect(tmp_path)[0]).shape == (4 + 2 * 114, 4 + 2 * 100, 3)


def test_the_command_lists_the_files_it_wrote(run, folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["selfstudy", "inspect", str(run.folder), str(folder), "--out", str(tmp_path)])
    with pytest.raises(SystemExit) as left:
        main()
    lines = capsys.readouterr().out.splitlines()
    assert left.value.code == 0 and Path(lines[-1]) == tmp_path / "neighbours.png" and Path(lines[-1]).is_file()
    assert lines[0] == "inspect  student of step 2 on 24 of 25 images"


def test_a_solved_method_shows_its_filters_from_low_to_high_frequencies(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("selfstudy.methods.patches._PATCHES", 2_000)
    settings = {"method.filters": [40, 8], "data.image_size": 16}
    run = selfstudy.pretrain(folder, method="patches", out=tmp_path / "run", set=settings)
    files = run.inspect(folder)
    assert [file.name for file in files] == ["neighbours.png", "filters.png"]
    assert _pixels(files[1]).shape == (4 + 2 * (36 + 14 + 4), 4 + 20 * 40, 3)  # 20 and 4 of them are stored
    waves = torch.stack([torch.cos(2 * torch.pi * f * torch.arange(6) / 6).expand(1, 6, 6) for f in (3, 1, 2)])
    assert torch.allclose(_frequencies(waves), torch.tensor([3, 1, 2]) / 6, atol=1e-5)
