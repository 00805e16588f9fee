"""An embedder takes images of any kind, and refuses what it cannot take with a reason."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import Dataset

from selfstudy.errors import DataError
from selfstudy.images.embedder import Embedder
from selfstudy.images.opening import open_source
from selfstudy.views.preprocess import Preprocessing

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)


def _embedder(channels=3):
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(channels * 64, 4))
    preprocessing = Preprocessing((8, 8), channels, [0.5] * channels, [0.25] * channels)
    return Embedder(encoder, preprocessing, {"embed_dim": 4}, device="cpu")


def test_a_batch_is_embedded_like_its_images_one_by_one():
    embedder, tensor = _embedder(), torch.from_numpy(PIXELS).permute(0, 3, 1, 2)
    wanted = np.concatenate([embedder.embed(image) for image in PIXELS])
    for batch in (PIXELS, tensor, list(PIXELS), list(tensor)):
        np.testing.assert_allclose(embedder.embed(batch), wanted, atol=1e-6)
    assert embedder.embed(PIXELS[:0]).shape == (0, 4)


def test_a_gray_batch_of_one_is_embedded():
    assert _embedder(channels=1).embed(torch.rand(1, 1, 8, 8)).shape == (1, 4)


@pytest.mark.parametrize("shape", [(2, 1, 8, 8, 3), (8,)])
@pytest.mark.parametrize("make", [np.zeros, torch.zeros])
def test_what_is_neither_an_image_nor_a_batch_is_refused_with_its_shape(make, shape):
    with pytest.raises(
        DataError, match=r"shape \(.*8.*\) is not an image; an array is \(H, W\) or \(H, W, C\), a tensor"
    ):
        _embedder().embed(make(shape))


def test_an_image_that_cannot_be_read_is_named(tmp_path):
    Image.fromarray(PIXELS[0]).save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes(b"no image")
    paths = [tmp_path / "good.png", tmp_path / "bad.png"]
    with pytest.raises(DataError, match=f"^{paths[1]}: not an image of a known format"):
        _embedder().embed(paths)
    with pytest.raises(DataError, match=f"^{tmp_path / 'none.png'}: does not exist$"):
        _embedder().embed([tmp_path / "none.png"])
    with pytest.raises(DataError, match="^image 1 .from 0.: a dict is not an image"):
        _embedder().embed([PIXELS[0], {}])


class _Second(Dataset):
    """Three images, of which the second cannot be read."""

    def __len__(self):
        return 3

    def __getitem__(self, index):
        if index == 1:
            raise OSError("gone")
        return PIXELS[index]


def test_every_image_of_a_source_has_a_row_or_a_reason():
    embedder = _embedder()
    (chunk,) = embedder.of_source(open_source(_Second()), range(3))
    assert chunk.indices == [0, 2] and chunk.unreadable == {1: "the dataset raised OSError: gone"}
    np.testing.assert_allclose(chunk.embeddings, embedder.embed(PIXELS[[0, 2]]), atol=1e-6)
