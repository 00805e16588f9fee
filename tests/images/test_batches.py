"""Views of a batch, from memory or from files."""

import numpy as np
import pytest
import torch
from PIL import Image

from selfstudy.data.batches import Shard, micro_batches
from selfstudy.data.order import EpochOrder
from selfstudy.errors import DataError, UsageError
from selfstudy.images.batches import TrainingData, render
from selfstudy.images.opening import open_source
from selfstudy.images.scan import scan
from selfstudy.views.spec import Draws, Labels, View

ALONE = Shard()


VIEWS = [View((16, 16), count=2, jitter=(0.4, 0.4, 0.4, 0.1)), View((8, 8))]


PLAIN = ([0.0] * 3, [1.0] * 3)


@pytest.fixture
def folder(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (24, 20, 20, 3), dtype=np.uint8)
    for number, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / f"{number:02d}.png")
    return tmp_path


def _data(folder, *, in_memory=True, shard=ALONE, batch=8, specs=VIEWS, labels=None):
    source = open_source(folder)
    found = scan(source, memory_bytes=None if in_memory else 0)
    order = EpochOrder(5, len(found.good), batch)
    return TrainingData(
        order,
        specs,
        images=found.images,
        source=source,
        indices=found.good.tolist(),
        channels=3,
        labels=labels,
        shard=shard,
    )


def _views(data, step, workers=0):
    crops = next(micro_batches(data, first_step=step, workers=workers))
    return render(crops, data.specs, PLAIN, torch.device("cpu"))


def test_views_come_in_the_order_and_sizes_of_the_specs(folder):
    assert [view.shape for view in _views(_data(folder), 0)] == [(8, 3, 16, 16), (8, 3, 16, 16), (8, 3, 8, 8)]


def test_the_batch_of_a_step_is_the_same_whether_reached_or_jumped_to(folder):
    data = _data(folder)
    stream = micro_batches(data, first_step=0, workers=0)
    reached = [render(next(stream), VIEWS, PLAIN, torch.device("cpu")) for _ in range(5)][4]
    for one, other in zip(reached, _views(_data(folder), 4), strict=True):
        assert torch.equal(one, other)


def test_workers_give_the_same_batches_as_none(folder):
    data = _data(folder, in_memory=False)
    alone, helped = _views(data, 3, workers=0), _views(data, 3, workers=2)
    assert all(torch.equal(a, b) for a, b in zip(alone, helped, strict=True))


def test_memory_and_disk_show_the_same_crops_except_for_rounding(folder):
    kept, read = _views(_data(folder), 2), _views(_data(folder, in_memory=False), 2)
    for one, other in zip(kept, read, strict=True):
        assert (one - other).abs().max() < 0.03


def test_two_processes_and_micro_batches_split_one_global_batch(folder):
    whole = _views(_data(folder), 1)
    for shard in (Shard(0, 2), Shard(1, 2)):
        part = _views(_data(folder, shard=shard), 1)
        for one, other in zip(part, whole, strict=True):
            assert torch.equal(one, other[4 * shard.rank : 4 * shard.rank + 4])
    stream = micro_batches(_data(folder, shard=Shard(accumulate=2)), first_step=1, workers=0)
    halves = [render(next(stream), VIEWS, PLAIN, torch.device("cpu")) for _ in range(2)]
    assert all(torch.equal(torch.cat(parts), w) for *parts, w in zip(*halves, whole, strict=True))


def test_a_file_that_vanishes_is_replaced_and_reported(folder):
    data = _data(folder, in_memory=False)
    victim = int(data.order.batch(0)[1][0])
    (folder / f"{victim:02d}.png").unlink()
    crops = data[0]
    assert "does not exist" in crops.failed[victim]
    assert crops.crops[0].shape == (8, 3, 16, 16)


def test_an_image_in_the_place_of_another_brings_its_own_label(folder):
    data = _data(folder, in_memory=False, labels=torch.arange(24))
    wanted = data[0].labels.clone()
    victim = int(wanted[0])
    (folder / f"{victim:02d}.png").unlink()
    wanted[0] = (victim + 1) % 24
    assert torch.equal(data[0].labels, wanted)


def test_when_everything_vanishes_the_run_stops_with_advice(folder):
    data = _data(folder, in_memory=False)
    for file in folder.iterdir():
        file.unlink()
    with pytest.raises(DataError, match="is the data folder still mounted"):
        data[0]


def test_a_batch_that_does_not_divide_is_refused(folder):
    with pytest.raises(UsageError, match="batch size 8 does not divide by 3 processes"):
        _data(folder, shard=Shard(0, 3))


@pytest.mark.parametrize("in_memory", [True, False])
def test_draws_and_labels_belong_to_the_image(folder, in_memory):
    specs = [View((8, 8)), Draws(5), Labels()]
    data = _data(folder, in_memory=in_memory, specs=specs, labels=torch.arange(24))
    epoch, positions = data.order.batch(1)
    _, draws, labels = _views(data, 1)
    assert torch.equal(labels, positions)
    assert draws.shape == (8, 5) and draws.dtype == torch.float32 and 0 <= draws.min() and draws.max() < 1
    second = _data(folder, in_memory=in_memory, specs=specs, labels=torch.arange(24), shard=Shard(1, 2))
    assert torch.equal(_views(second, 1)[1], draws[4:])
    assert not torch.equal(_views(data, 4)[1].sort(dim=0)[0], draws.sort(dim=0)[0])  # the next epoch has other draws
