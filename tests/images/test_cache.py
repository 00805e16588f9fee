"""Decoded images are one tensor where they can be, and found by position in any case."""

import torch

from selfstudy.images.cache import DecodedImages


def test_images_of_one_size_become_one_tensor():
    images = DecodedImages([torch.zeros(3, 4, 5), torch.ones(3, 4, 5)])
    assert images.tensor.shape == (2, 3, 4, 5) and len(images) == 2 and torch.equal(images[1], torch.ones(3, 4, 5))


def test_a_tensor_is_kept_as_it_is():
    tensor = torch.zeros(2, 1, 4, 4, dtype=torch.uint8)
    assert DecodedImages(tensor).tensor is tensor


def test_images_of_several_sizes_or_types_stay_apart():
    for other in (torch.zeros(3, 5, 4), torch.zeros(3, 4, 5, dtype=torch.uint8)):
        images = DecodedImages([torch.zeros(3, 4, 5), other])
        assert images.tensor is None and len(images) == 2 and images[1] is other


def test_a_subset_holds_the_images_at_the_positions_in_their_order():
    numbered = [torch.full((1, 2, 2), float(number)) for number in range(4)]
    for images in (DecodedImages(numbered), DecodedImages([*numbered, torch.zeros(1, 3, 3)])):
        assert [float(image.mean()) for image in images.subset(torch.tensor([3, 1]))] == [3.0, 1.0]
