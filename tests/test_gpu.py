"""Tests on a GPU: methods train there, resume bit for bit, and give the same numbers as on a processor."""

import copy
import json
import shutil

import numpy as np
import pytest
import torch

import selfstudy
from selfstudy.methods import method_class
from selfstudy.views.augment import augment
from selfstudy.views.spec import View
from tests.methods.contract import forward, views_for
from tests.methods.small_encoders import STEPPED, TEXT_METHODS, builder, fitting, small_config
from tests.small_data import write_corpus, write_photos

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here"),
    # torch's own, as it compiles
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf"),
]
DEVICE = "cuda"
STEPS, HALF = 6, 3
FROM_DISK = {"data.cache_gigabytes": 0, "train.workers": 1}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return write_photos(tmp_path_factory.mktemp("photos"), count=40, size=(40, 44))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("corpus"))


def _pretrain(photos, corpus, out, method, *, resume=False, **more):
    shape = {"encoder.width": 32, "encoder.depth": 2, "encoder.heads": 2, "data.cache": str(out.parent / "cache")}
    every = {"train.checkpoint_every": f"{HALF} steps", "train.keep": 4, "train.log_every": 1}
    common = {"method": method, "out": out, "device": DEVICE, "steps": STEPS, "batch_size": 8, "resume": resume}
    if method in TEXT_METHODS:
        given = {"context": 32, "tokenizer": "byte", "set": shape | every | more}
        return selfstudy.pretrain(corpus, **common, **given)
    encoder = "test_vit" if method_class(method).reads.tokens else "resnet10t"
    return selfstudy.pretrain(photos, **common, encoder=encoder, image_size=32, set=every | more)


def _weights(out):
    last = out / "checkpoints" / f"step-{STEPS:09d}"
    return [(last / name).read_bytes() for name in ("model.safetensors", "optimizer.safetensors")]


@pytest.mark.parametrize("name", [name for name in STEPPED if name not in {"bert", "electra", "simcse"}])
def test_losses_are_those_of_the_processor(name):
    cls = method_class(name)
    torch.manual_seed(0)
    method = cls(builder(name, fitting(name)[0])(), cls.Config(**small_config(name)))
    views = views_for(cls)
    there = copy.deepcopy(method).to(DEVICE)
    wanted = forward(method, views).loss
    output = forward(there, [view.to(DEVICE) for view in views])
    torch.testing.assert_close(output.loss.cpu(), wanted, atol=1e-3, rtol=1e-3)


def test_views_are_those_of_the_processor():
    images = torch.randint(256, (16, 3, 40, 48), dtype=torch.uint8)
    view = View((24, 32), jitter=(0.4, 0.4, 0.4, 0.1), grayscale=0.2, blur=0.5, solarize=0.2)
    keys = torch.arange(16) * 7919
    here, there = augment(images, view, keys), augment(images.to(DEVICE), view, keys).cpu()
    # A pixel at the threshold of solarize, or at the end of the hue range, may get a different value.
    assert ((here - there).abs() > 1e-3).float().mean() < 1e-3


@pytest.mark.parametrize("method", ["gpt", "bert", "dino"])
def test_compiled_layers_learn_what_plain_ones_do_and_the_same_every_time(photos, corpus, tmp_path, method):
    losses = []
    for number, compiled in enumerate([False, True, True]):
        out = tmp_path / f"{number}"
        _pretrain(photos, corpus, out, method, **{"train.compile": compiled, "train.precision": "fp32"})
        losses.append([json.loads(line)["loss"] for line in (out / "metrics.jsonl").read_text().splitlines()])
    assert losses[1] == losses[2] and losses[1] == pytest.approx(losses[0], rel=1e-3)


def test_a_run_on_images_is_evaluated_embedded_drawn_and_exported(photos, corpus, tmp_path):
    run = _pretrain(photos, corpus, tmp_path / "run", "simclr")
    probes = ["knn", "linear", "low-shot", "retrieval", "finetune"]
    result = selfstudy.evaluate(run.folder, photos, test=photos, probe=probes)
    assert "k-NN" in str(result)
    paths = sorted(photos.rglob("*.png"))
    there, here = (selfstudy.load(run.folder, device=device).embed(paths) for device in (DEVICE, "cpu"))
    np.testing.assert_allclose(there, here, atol=5e-2, rtol=5e-2)
    assert selfstudy.inspect(run.folder, photos)
    assert selfstudy.report(run.folder).is_file()
    assert selfstudy.export(run.folder, "timm", tmp_path / "timm").max_abs_difference <= 1e-5


@pytest.mark.parametrize("method", ["bert", "gpt", "simcse"])
def test_a_run_on_text_is_evaluated_embedded_asked_and_exported(photos, corpus, tmp_path, method):
    run = _pretrain(photos, corpus, tmp_path / "run", method)
    lines = [f"{'good' if n % 2 else 'bad'} words, number {n}\t{n % 2}" for n in range(40)]
    (tmp_path / "train.tsv").write_text("\n".join(["text\tlabel", *lines]))
    result = selfstudy.evaluate(run.folder, tmp_path / "train.tsv", test=tmp_path / "train.tsv")
    assert "TF-IDF" in str(result)
    there, here = (selfstudy.load(run.folder, device=device).embed(lines) for device in (DEVICE, "cpu"))
    np.testing.assert_allclose(there, here, atol=5e-2, rtol=5e-2)
    if method == "bert":
        assert selfstudy.fill(run.folder, "some [MASK] of it")
    if method == "gpt":
        assert selfstudy.complete(run.folder, "some words", tokens=8)
    assert selfstudy.export(run.folder, "transformers", tmp_path / "hf").max_abs_difference <= 1e-5


@pytest.mark.parametrize(
    ("method", "more"), [*((name, {}) for name in STEPPED), *((name, FROM_DISK) for name in ["simclr", "supcon"])]
)
def test_a_run_that_is_resumed_ends_bit_for_bit_as_one_that_was_not_stopped(photos, corpus, tmp_path, method, more):
    _pretrain(photos, corpus, tmp_path / "straight", method, **more)
    shutil.copytree(tmp_path / "straight", tmp_path / "stopped")
    shutil.rmtree(tmp_path / "stopped" / "checkpoints" / f"step-{STEPS:09d}")
    shutil.rmtree(tmp_path / "stopped" / "encoder")
    _pretrain(photos, corpus, tmp_path / "stopped", method, resume=True, **more)
    assert _weights(tmp_path / "stopped") == _weights(tmp_path / "straight")
