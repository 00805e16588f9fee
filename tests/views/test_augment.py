"""Every operation against torchvision's own at the same parameter, and the draws against their keys."""

import pytest
import torch
import torchvision.transforms.v2.functional as TF

from selfstudy.ops.random import fold
from selfstudy.views import augment as ours
from selfstudy.views.spec import View

SMALL = View((32, 32), scale=(0.2, 1.0), jitter=(0.4, 0.4, 0.4, 0.1), grayscale=0.2, blur=0.5, solarize=0.2)


def _images(batch=12, channels=3, size=(32, 24)):
    return torch.rand(batch, channels, *size, generator=torch.Generator().manual_seed(0))


def _keys(batch=12, seed=0):
    return fold(seed, 0, torch.arange(batch), 0)


@pytest.mark.parametrize(
    ("operation", "low", "high"),
    [("adjust_brightness", 0, 2), ("adjust_contrast", 0, 2), ("adjust_saturation", 0, 2), ("adjust_hue", -0.5, 0.5)],
)
def test_colour_operations_equal_torchvisions(operation, low, high):
    images, factors = _images(), torch.linspace(low, high, 12)
    theirs = torch.stack([getattr(TF, operation)(x, float(f)) for x, f in zip(images, factors, strict=True)])
    torch.testing.assert_close(getattr(ours, operation)(images, factors), theirs, atol=1e-5, rtol=0)


def test_hue_leaves_gray_alone_and_a_full_turn_is_none():
    gray = _images(channels=1).expand(-1, 3, -1, -1)
    torch.testing.assert_close(ours.adjust_hue(gray, torch.full((12,), 0.3)), gray)
    torch.testing.assert_close(
        ours.adjust_hue(_images(), torch.full((12,), 0.5)),
        ours.adjust_hue(_images(), torch.full((12,), -0.5)),
        atol=1e-5,
        rtol=0,
    )


@pytest.mark.parametrize("size", [(32, 24), (96, 64)])
def test_blur_equals_torchvisions_with_the_same_kernel(size):
    images, sigma = _images(size=size), torch.linspace(0.1, 2, 12)
    kernel = [ours.kernel_size(size)] * 2
    theirs = torch.stack([TF.gaussian_blur(x, kernel, [float(s)] * 2) for x, s in zip(images, sigma, strict=True)])
    torch.testing.assert_close(ours.gaussian_blur(images, sigma), theirs, atol=1e-5, rtol=0)


def test_solarize_inverts_the_threshold_itself():
    values = torch.tensor([0.0, 0.2499, 0.25, 1.0])
    torch.testing.assert_close(ours.solarize(values, 0.25), torch.tensor([0.0, 0.2499, 0.75, 0.0]))


def test_solarize_equals_torchvisions():
    torch.testing.assert_close(ours.solarize(_images(), 0.5), TF.solarize(_images(), 0.5))


def test_normalize_equals_torchvisions_and_is_channels_last():
    result = ours.normalize(_images(), [0.4, 0.5, 0.6], [0.2, 0.3, 0.1])
    torch.testing.assert_close(result, TF.normalize(_images(), [0.4, 0.5, 0.6], [0.2, 0.3, 0.1]))
    assert result.is_contiguous(memory_format=torch.channels_last)


def test_a_samples_view_does_not_depend_on_the_batch_it_is_in():
    images, keys = (_images() * 255).to(torch.uint8), _keys()
    whole = ours.augment(images, SMALL, keys)
    order = torch.tensor([7, 2, 11])
    torch.testing.assert_close(ours.augment(images[order], SMALL, keys[order]), whole[order], atol=1e-6, rtol=0)


def test_the_same_key_gives_the_same_view_and_another_a_different_one():
    images = _images()
    again = ours.augment(images, SMALL, _keys())
    assert torch.equal(ours.augment(images, SMALL, _keys()), again)
    assert not torch.equal(ours.augment(images, SMALL, _keys(seed=1)), again)


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_other_numbers_of_channels_are_augmented_where_it_makes_sense(channels):
    view = ours.augment(_images(channels=channels), SMALL, _keys())
    assert view.shape == (12, channels, 32, 32) and torch.isfinite(view).all()
    assert 0 <= view.min() and view.max() <= 1


def test_operations_apply_to_the_asked_share_of_samples():
    images, keys = _images(600, size=(8, 8)), _keys(600)
    gray = ours.distort(images.clone(), View((8, 8), grayscale=0.2), keys)
    share = float((gray.std(dim=1).amax(dim=(1, 2)) < 1e-6).float().mean())
    assert share == pytest.approx(0.2, abs=0.05)
    jittered = ours.distort(images.clone(), View((8, 8), jitter=(0.4, 0.4, 0.4, 0.1)), keys)
    assert float((jittered != images).flatten(1).any(1).float().mean()) == pytest.approx(0.8, abs=0.05)


def test_a_view_without_operations_is_the_image():
    plain = View((32, 24), scale=(1, 1), ratio=(24 / 32, 24 / 32), flip=0.0)
    torch.testing.assert_close(ours.augment(_images(), plain, _keys()), _images(), atol=1e-6, rtol=0)
