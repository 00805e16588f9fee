import pytest
import torch
import torchvision.transforms.v2.functional as TF
from torchvision.transforms import RandomResizedCrop

from selfstudy.ops.random import fold
from selfstudy.views.geometry import crop_boxes, fit, flips, resample, resample_one
from selfstudy.views.spec import View

KEYS = fold(0, torch.arange(4000))


def test_boxes_lie_inside_and_have_the_asked_areas_and_ratios():
    view = View((8, 8), scale=(0.2, 0.8), ratio=(0.75, 4 / 3))
    top, left, height, width = crop_boxes(view, KEYS, 200, 300).T
    assert (top >= 0).all() and (left >= 0).all() and (top + height <= 200).all() and (left + width <= 300).all()
    area, ratio = height * width / 60_000, width / height
    assert 0.19 < area.min() and area.max() < 0.81
    assert 0.73 < ratio.min() and ratio.max() < 1.36


def test_boxes_are_distributed_as_torchvisions():
    view, blank = View((8, 8), scale=(0.2, 0.8)), torch.zeros(1, 200, 300)
    torch.manual_seed(0)
    theirs = torch.tensor([RandomResizedCrop.get_params(blank, view.scale, view.ratio) for _ in range(4000)]).float()
    for column, name in enumerate(["top", "left", "height", "width"]):
        mine, other = crop_boxes(view, KEYS, 200, 300)[:, column].sort().values, theirs[:, column].sort().values
        assert float((mine - other).abs().mean()) < 4, name  # pixels between the two distributions' quantiles


def test_a_shape_no_box_fits_gives_the_central_crop_of_the_nearest_ratio():
    view = View((8, 8), scale=(1.0, 1.0), ratio=(1.0, 1.0))
    assert crop_boxes(view, KEYS[:3], 20, 60).tolist() == [[0, 20, 20, 20]] * 3


def test_boxes_for_images_of_mixed_sizes_are_those_of_each_alone():
    view, heights, widths = View((8, 8)), torch.tensor([20, 90, 33]), torch.tensor([50, 40, 33])
    together = crop_boxes(view, KEYS[:3], heights, widths)
    for i in range(3):
        assert torch.equal(crop_boxes(view, KEYS[i : i + 1], int(heights[i]), int(widths[i]))[0], together[i])


@pytest.mark.parametrize("size", [(32, 32), (24, 40), (7, 5), (96, 64)])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_resampling_equals_torchvisions_antialiased_crop(size, dtype):
    pixels = torch.randint(0, 256, (20, 3, 40, 48), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    images = pixels if dtype == torch.uint8 else pixels.float() / 255
    view = View(size, vertical_flip=0.5)
    boxes, flip = crop_boxes(view, KEYS[:20], 40, 48), flips(view, KEYS[:20])
    result = resample(images, boxes, size, flip)
    for i in range(20):
        top, left, height, width = (int(value) for value in boxes[i])
        theirs = TF.resized_crop(pixels[i].float() / 255, top, left, height, width, list(size), antialias=True)
        theirs = TF.horizontal_flip(theirs) if flip[i, 0] else theirs
        theirs = TF.vertical_flip(theirs) if flip[i, 1] else theirs
        torch.testing.assert_close(result[i], theirs, atol=1e-5, rtol=0)
        alone = resample_one(pixels[i].float() / 255, boxes[i], size, flip[i].tolist())
        torch.testing.assert_close(result[i], alone, atol=1e-5, rtol=0)


def test_flips_happen_at_the_asked_rate():
    assert float(flips(View((8, 8), flip=0.5), KEYS)[:, 0].float().mean()) == pytest.approx(0.5, abs=0.03)
    assert not flips(View((8, 8), flip=0.0), KEYS).any()
    assert flips(View((8, 8), flip=1.0, vertical_flip=1.0), KEYS).all()


def test_fit_keeps_an_image_of_the_right_size_and_covers_with_any_other():
    image = torch.randint(0, 256, (3, 32, 48), dtype=torch.uint8)
    assert fit(image, (32, 48)) is image
    for size in [(16, 16), (64, 64), (20, 50)]:
        assert fit(image, size).shape == (3, *size)


def test_fit_takes_the_centre():
    image = torch.zeros(1, 10, 30)
    image[:, :, 10:20] = 1
    assert fit(image, (10, 10)).min() == 1
