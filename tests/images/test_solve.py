"""Runs of solved methods on images: what is decided, what is refused, and the passes over the images."""

import numpy as np
import pytest
import torch
from rich.console import Console

import selfstudy
from selfstudy import modalities
from selfstudy.errors import DataError, UsageError
from selfstudy.images.solve import resolve_solved


def _images(count=40, size=(16, 16)):
    return np.random.default_rng(0).integers(0, 256, (count, *size, 3), dtype=np.uint8)


def _work(images, **settings):
    config = modalities.configured(images, {}, {"method": "patches", "device": "cpu", **settings})
    return modalities.named("images").open(images, config, Console(quiet=True))


def test_everything_but_the_optimizer_is_decided_with_its_reason():
    resolved = _work(_images(count=200)).resolve()
    assert resolved.inputs.encoder.name == "patches" and resolved.train.precision == "fp32"
    assert (resolved.train.batch_size, str(resolved.train.duration)) == (64, "1 epochs")
    assert resolved.settings.dimensions == 50 and resolved.config.optimizer.lr == "auto"
    assert "method.filters" in resolved.reasons and not any(key.startswith("optimizer") for key in resolved.reasons)


def test_a_decided_configuration_is_decided_again_as_it_is():
    first = _work(_images()).resolve()
    again = resolve_solved(first.config, _work(_images()).opened.scan, first.method)
    assert again.config == first.config and again.inputs == first.inputs


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"epochs": 3}, "Patches takes no steps, so it cannot train for 3 epochs\nuse --minutes, or leave the length"),
        ({"steps": 3}, "Patches takes no steps, so it cannot train for 3 steps\nuse --minutes, or leave the length"),
        ({"set": {"optimizer.lr": 0.1}}, "takes no steps, so optimizer.lr=0.1 would change nothing\nleave it out"),
        ({"set": {"optimizer.final_lr": 0.1}}, "so optimizer.final_lr=0.1 would change nothing\nleave it out"),
        ({"set": {"train.accumulate": 2}}, "so train.accumulate=2 would change nothing\nleave it out"),
        ({"set": {"train.compile": True}}, "so train.compile=True would change nothing\nleave it out"),
        ({"set": {"data.views": "none"}}, "so data.views=none would change nothing\nleave it out"),
        ({"encoder": "resnet18"}, "Patches solves an encoder of its own, not resnet18\nleave the encoder out"),
        ({"set": {"train.devices": 2}}, "Patches is solved by one process\nleave train.devices out"),
        ({"minutes": 1e-5}, r"40 images need about \d+ s with the fewest filters, 0 s are left\nuse --minutes [\d.]+"),
        ({"set": {"method.dimensions": 9_000}}, "give .* features, method.dimensions=9,000\nuse at most"),
        ({"set": {"method.filters": [7, 8]}}, r"method.filters=\[7, 8\]\ngive positive numbers, even ones"),
    ],
)
def test_settings_that_cannot_work_or_would_change_nothing_are_refused(settings, text):
    with pytest.raises(UsageError, match=text):
        _work(_images(), **settings).resolve()


def test_images_that_hold_too_few_patches_are_refused(tmp_path):
    images = _images(size=(96, 8))
    with pytest.raises(UsageError, match="patches of 6 px need at least 7 a side\nset data.image_size to a square"):
        selfstudy.pretrain(images, method="patches", out=tmp_path / "run")


def test_other_methods_refuse_the_encoder(tmp_path):
    text = "encoder 'patches' is solved, so its shape comes from its method\nuse --method patches, or another encoder"
    with pytest.raises(UsageError, match=text):
        selfstudy.pretrain(_images(), method="simclr", encoder="patches", steps=1, batch_size=8, out=tmp_path / "run")


def test_a_single_image_is_refused():
    with pytest.raises(DataError, match="found 1 usable images, at least 2 are needed to learn from"):
        _work(_images(count=1)).resolve()


def test_a_pass_reads_every_image_once_in_an_order_of_the_seed():
    images = _images()

    def passes(seed):
        work = _work(images, seed=seed, batch_size=16)
        return work.passes(work.resolve())

    first, again, other = ([*one.batches(40, {})] for one in (passes(0), passes(0), passes(1)))
    assert [len(batch) for batch in first] == [16, 16, 8]
    assert torch.equal(torch.cat(first), torch.cat(again)) and not torch.equal(torch.cat(first), torch.cat(other))
    torch.testing.assert_close(torch.cat(first).sum(dim=0), torch.cat(other).sum(dim=0), atol=1e-4, rtol=1e-4)
    some = torch.cat([*passes(0).batches(20, {})])
    assert torch.equal(some, torch.cat(first)[:20])


def test_images_that_become_unreadable_are_noted_and_left_out(tmp_path):
    from PIL import Image

    for number, image in enumerate(_images(count=6)):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
    work = _work(tmp_path, set={"data.cache_gigabytes": 0})
    passes = work.passes(work.resolve())
    (tmp_path / "3.png").write_bytes(b"no image")
    failed: dict[int, str] = {}
    assert sum(len(batch) for batch in passes.batches(6, failed)) == 5 and len(failed) == 1
