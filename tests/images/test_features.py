import pytest
import torch
from torch import nn

from selfstudy.images.embedder import embed_batches
from selfstudy.images.features import raw_pixels, raw_pixels_name


class SmallEncoder(nn.Module):
    embed_dim = 4

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.5)

    def forward(self, x):
        return self.drop(self.norm(self.conv(x))).mean(dim=(2, 3))


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return SmallEncoder()


@pytest.fixture
def images():
    return torch.randn(10, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def test_embeddings_are_those_of_eval_mode_at_any_batch_size(encoder, images):
    together = torch.cat(list(embed_batches(encoder, [images], device="cpu")))
    apart = torch.cat(list(embed_batches(encoder, images.split(3), device="cpu")))
    with torch.no_grad():
        expected = encoder.eval()(images)
    assert together.dtype == torch.float32 and together.shape == (10, 4)
    torch.testing.assert_close(together, expected)
    torch.testing.assert_close(apart, expected)


def test_embedding_changes_neither_the_state_nor_the_mode_of_any_module(encoder, images):
    encoder.train()
    encoder.norm.eval()  # a frozen part of a network in training
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    list(embed_batches(encoder, [images], device="cpu"))
    assert (encoder.training, encoder.norm.training, encoder.drop.training) == (True, False, True)
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())


def test_the_mode_comes_back_when_the_iterator_is_abandoned_or_fails(encoder, images):
    iterator = embed_batches(encoder, [images, images], device="cpu")
    next(iterator)
    assert not encoder.training
    iterator.close()
    assert encoder.training
    with pytest.raises(RuntimeError):
        list(embed_batches(encoder, [images[:, :2]], device="cpu"))
    assert encoder.training


def test_the_code_that_consumes_embeddings_is_not_put_in_inference_mode(encoder, images):
    for embedding in embed_batches(encoder, [images], device="cpu", precision="bf16"):
        assert not torch.is_inference_mode_enabled() and not torch.is_autocast_enabled("cpu")
        nn.Linear(4, 2)(embedding).sum().backward()  # an inference tensor would refuse


def test_bf16_embeddings_come_back_as_float32_near_the_exact_ones(encoder, images):
    exact = next(embed_batches(encoder, [images], device="cpu"))
    rounded = next(embed_batches(encoder, [images], device="cpu", precision="bf16"))
    assert rounded.dtype == torch.float32
    assert 0 < float((rounded - exact).abs().max()) < 0.05


def test_small_images_are_their_own_raw_pixels():
    images = torch.randint(0, 256, (5, 3, 8, 6), dtype=torch.uint8)
    torch.testing.assert_close(raw_pixels(images), images.flatten(1).float() / 255)
    torch.testing.assert_close(raw_pixels(images.float() / 255), raw_pixels(images))
    assert raw_pixels_name(images.shape[1:]) == "raw pixels"


def test_large_images_are_averaged_over_areas_and_the_name_says_so():
    images = torch.rand(3, 1, 64, 32)
    expected = images.reshape(3, 1, 32, 2, 16, 2).mean(dim=(3, 5)).flatten(1)
    torch.testing.assert_close(raw_pixels(images), expected)
    assert raw_pixels_name(images.shape[1:]) == "raw pixels (area-averaged to 32x16)"


def test_raw_pixels_of_many_images_equal_those_of_each():
    images = torch.randint(0, 256, (1030, 1, 4, 4), dtype=torch.uint8)
    torch.testing.assert_close(raw_pixels(images, side=2), torch.cat([raw_pixels(i[None], side=2) for i in images]))
