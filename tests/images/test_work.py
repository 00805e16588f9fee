"""A run on images, seen from outside: the files it leaves."""

import io
import json

import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file
from timm.models.vision_transformer import Attention

import selfstudy
from selfstudy import config as cfg
from selfstudy.images.config import ImageRunConfig
from selfstudy.images.work import ImageWork
from selfstudy.nn.statistics import set_statistics

QUICK = {"encoder": "resnet10t", "steps": 4, "batch_size": 2, "image_size": 16, "device": "cpu", "precision": "fp32"}


class Fading(torch.utils.data.Dataset):
    """Twelve images of noise: number 1 can never be read, numbers 4 and 7 once only, by the scan."""

    def __init__(self):
        self.images = np.random.default_rng(0).integers(0, 256, (12, 16, 16, 3), dtype=np.uint8)
        self.reads = dict.fromkeys(range(12), 0)

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        self.reads[index] += 1
        if index == 1 or (index in (4, 7) and self.reads[index] > 1):
            raise OSError("gone")
        return self.images[index]


def test_images_that_become_unreadable_are_listed_by_their_own_ids(tmp_path):
    settings = {"data.cache_gigabytes": 0, "data.max_bad": 0.5, "train.workers": 0}
    run = selfstudy.pretrain(Fading(), out=tmp_path / "run", set=settings, **QUICK | {"steps": 10})
    lines = [json.loads(line) for line in (run.folder / "unreadable.jsonl").read_text().splitlines()]
    assert sorted(line["id"] for line in lines) == ["04", "07"]
    assert all(line["reason"] == "the dataset raised OSError: gone" for line in lines)


def test_without_an_unreadable_image_there_is_no_list(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (8, 16, 16), dtype=np.uint8)
    run = selfstudy.pretrain(images, out=tmp_path / "run", **QUICK | {"steps": 1})
    assert not (run.folder / "unreadable.jsonl").exists()


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_attention_is_spelled_out_on_a_processor_in_bfloat16_only(precision):
    settings = {
        "data": {"path": "x"},
        "encoder": {"name": "test_vit"},
        "train": {"device": "cpu", "precision": precision, "duration": "1 steps", "batch_size": 2},
    }
    work = ImageWork(np.zeros((4, 16, 16, 3), np.uint8), cfg.validate(ImageRunConfig, settings), Console(quiet=True))
    method = work.build_method(work.resolve())
    fused = {module.fused_attn for module in method.modules() if isinstance(module, Attention)}
    assert fused == {precision == "fp32"}


def test_a_budget_in_minutes_keeps_time_for_the_files_and_for_one_pass_over_some_images():
    settings = {"data": {"path": "x"}, "train": {"device": "cpu", "duration": "1 minutes", "precision": "fp32"}}
    settings["encoder"] = {"name": "resnet10t"}
    config = cfg.validate(ImageRunConfig, settings | {"method": {"name": "simclr"}})
    work = ImageWork(np.zeros((40, 16, 16, 3), np.uint8), config, Console(quiet=True))
    resolved = work.resolve()
    assert 3 < work.seconds_to_finish(work.build_method(resolved), resolved) < 10


@pytest.mark.parametrize(("method", "weights"), [("simclr", "student"), ("dino", "teacher")])
def test_the_saved_encoder_has_the_statistics_of_the_training_images_and_the_checkpoint_its_own(
    tmp_path, method, weights
):
    images = np.random.default_rng(0).integers(0, 256, (12, 16, 16, 3), dtype=np.uint8)
    console = Console(record=True, file=io.StringIO(), width=200)
    run = selfstudy.pretrain(images, out=tmp_path / "run", method=method, console=console, **QUICK)
    saved = run.encoder
    assert saved.description["statistics_images"] == 12 and saved.description["weights"] == weights
    assert "statistics of 14 normalisation layers set on 12 training images in " in console.export_text()
    before = {name: buffer.clone() for name, buffer in saved.encoder.named_buffers()}
    set_statistics(
        saved.encoder, [saved.preprocessing.prepare_batch([torch.from_numpy(x).permute(2, 0, 1) for x in images])]
    )
    for name, buffer in saved.encoder.named_buffers():
        torch.testing.assert_close(before[name], buffer, rtol=1e-3, atol=1e-5)
    (checkpoint,) = (run.folder / "checkpoints").iterdir()
    counts = [
        tensor
        for file in checkpoint.glob("*.safetensors")
        for name, tensor in load_file(file).items()
        if "num_batches" in name
    ]
    assert counts and min(map(int, counts)) > 1  # those of four steps; the saved encoder has read a single batch
    assert {int(buffer) for name, buffer in before.items() if "num_batches" in name} == {1}


def test_an_encoder_without_running_statistics_is_saved_as_it_is(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (8, 16, 16), dtype=np.uint8)
    console = Console(record=True, file=io.StringIO(), width=200)
    settings = QUICK | {"encoder": "test_vit", "steps": 1}
    run = selfstudy.pretrain(images, out=tmp_path / "run", method="mae", console=console, **settings)
    assert run.encoder.description["statistics_images"] == 0 and "normalisation layers" not in console.export_text()
