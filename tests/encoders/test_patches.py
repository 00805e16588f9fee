"""The network of patches: against loops over patches in NumPy, for any size and number of channels."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from selfstudy.encoders.patches import PatchNetwork, PatchScale, PatchSettings, resampling, working_size
from selfstudy.encoders.timm import EncoderSpec, build_encoder
from selfstudy.errors import UsageError

SETTINGS = {"sizes": (16, 12), "filters": (6, 4), "patch": 4, "grid": 2, "dimensions": 5, "mirror": True}
SHAPES = [((16, 16), 3), ((17, 13), 1), ((13, 21), 5), ((40, 24), 3)]


def _network(size=(16, 16), channels=3, **changes):
    """A network with random filters and a random map."""
    torch.manual_seed(0)
    network = PatchNetwork(EncoderSpec("patches", size, channels, settings=SETTINGS | changes))
    for buffer in (*network.buffers(), *(one.kernels for one in network.working_sizes())):
        if buffer.ndim != 2:  # no matrix
            buffer.copy_(torch.randn_like(buffer).abs() / 2 if buffer.ndim == 0 else torch.randn_like(buffer))
    network.projection.copy_(torch.randn_like(network.projection))
    return network.eval()


def _images(count, size, channels):
    return torch.randn(count, channels, *size, generator=torch.Generator().manual_seed(1))


def _by_hand(scale: PatchScale, image: np.ndarray) -> np.ndarray:
    """The features of one image (C, h, w) of the working size, patch by patch: signs, then filters, then cells."""
    kernels, means = scale.kernels.double().numpy(), scale.means.double().numpy()
    if scale.mirror:
        kernels, means = np.concatenate([kernels, kernels[..., ::-1]]), np.concatenate([means, means])
    patch, grid = kernels.shape[-1], scale.grid
    rows, columns = image.shape[1] - patch + 1, image.shape[2] - patch + 1
    beyond = np.zeros((len(kernels), rows, columns))
    for row in range(rows):
        for column in range(columns):
            pixels = image[:, row : row + patch, column : column + patch]
            spread = np.sqrt(pixels.var() + float(scale.contrast))
            for number, kernel in enumerate(kernels):
                response = (kernel * pixels).sum() / spread - means[number]
                beyond[number, row, column] = np.sign(response) * max(abs(response) - 1, 0)
    found = np.zeros((2, len(kernels), grid, grid))
    for i in range(grid):
        for j in range(grid):
            cell = beyond[
                :,
                i * rows // grid : -(-(i + 1) * rows // grid),
                j * columns // grid : -(-(j + 1) * columns // grid),
            ]
            found[0, :, i, j], found[1, :, i, j] = cell.mean(axis=(1, 2)), np.abs(cell).mean(axis=(1, 2))
    if scale.mirror:
        half = len(kernels) // 2
        found = (found[:, :half] + found[:, half:, :, ::-1]) / 2
    return found.ravel()


@pytest.mark.parametrize("mirror", [True, False])
@pytest.mark.parametrize(("size", "channels"), SHAPES)
def test_the_features_are_those_of_a_loop_over_patches(size, channels, mirror):
    network = _network(size, channels, mirror=mirror)
    image = _images(1, size, channels)
    parts = [_by_hand(scale, scale.resized(image)[0].double().numpy()) for scale in network.working_sizes()]
    np.testing.assert_allclose(network.features(image)[0].numpy(), np.concatenate(parts), atol=1e-5, rtol=1e-4)


def test_the_embedding_is_a_linear_map_of_the_centred_features():
    network, images = _network(), _images(3, (16, 16), 3)
    wanted = (network.features(images) - network.mean) @ network.projection
    assert torch.equal(network(images), wanted) and network.embed_dim == wanted.shape[1] == 5


@pytest.mark.parametrize(("size", "channels"), SHAPES)
def test_an_image_and_its_mirror_image_have_the_same_features(size, channels):
    images, apart = _images(4, size, channels), _network(size, channels, mirror=False)
    network = _network(size, channels)
    torch.testing.assert_close(network.features(images), network.features(images.flip(3)), atol=1e-5, rtol=1e-4)
    assert not torch.allclose(apart.features(images), apart.features(images.flip(3)), atol=1e-2)


@pytest.mark.parametrize(("size", "channels"), SHAPES)
@pytest.mark.parametrize("longer", [12, 16, 24])
def test_images_are_resized_as_torch_does_with_smoothing(size, channels, longer):
    settings = PatchSettings(**SETTINGS)
    scale = PatchScale(size, channels, longer=longer, filters=4, settings=settings)
    images = _images(2, size, channels)
    wanted = F.interpolate(images, working_size(size, longer), mode="bilinear", antialias=True, align_corners=False)
    torch.testing.assert_close(scale.resized(images), wanted, atol=1e-5, rtol=1e-4)
    assert max(scale.resized(images).shape[-2:]) == longer


def test_every_row_of_the_resampling_is_a_mean():
    for length, short in [(32, 20), (20, 20), (12, 16)]:
        matrix = resampling(length, short)
        assert matrix.shape == (short, length) and (matrix >= 0).all()
        torch.testing.assert_close(matrix.sum(dim=1), torch.ones(short))


def test_many_images_are_taken_in_parts_with_the_same_features(monkeypatch):
    network, images = _network(), _images(7, (16, 16), 3)
    whole = network.features(images)
    monkeypatch.setattr("selfstudy.encoders.patches._IN_CACHE", 3)
    torch.testing.assert_close(network.features(images), whole, atol=1e-6, rtol=1e-5)


def test_the_number_of_features_counts_signs_filters_and_cells():
    assert PatchSettings(**SETTINGS).features == 2 * (3 + 2) * 4 == _network().mean.numel()
    assert PatchSettings(**SETTINGS | {"mirror": False, "grid": 3}).features == 2 * (6 + 4) * 9


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"filters": (6,)}, r"method.filters=\[6\], method.sizes=\[16, 12\]\ngive as many filters as sizes"),
        ({"patch": 12}, r"method.sizes=\[16, 12\]: patches of 12 px need at least 13 px a side\nuse larger images, or"),
        ({"filters": (5, 4)}, r"method.filters=\[5, 4\]\ngive positive numbers, even ones with method.mirror"),
        ({"filters": (0, 4)}, r"method.filters=\[0, 4\]\ngive positive numbers"),
        (
            {"dimensions": 41},
            r"method.filters=\[6, 4\] give 40 features, method.dimensions=41\nuse at most 65,536 feat",
        ),
        (
            {"filters": (20_000, 4)},
            "give 80,016 features, method.dimensions=5\nuse at most 65,536 features, and no mor",
        ),
    ],
)
def test_shapes_that_do_not_fit_are_refused(changes, text):
    with pytest.raises(UsageError, match=text):
        PatchSettings(**SETTINGS | changes)


def test_images_that_hold_too_few_patches_are_refused():
    text = "images of 48x6 px become 16x2, patches of 4 px need at least 5 a side\nset data.image_size to a square"
    with pytest.raises(UsageError, match=text):
        _network((48, 6))


def test_the_encoder_without_its_method_is_refused():
    text = "encoder 'patches' is solved, so its shape comes from its method\nuse --method patches, or another encoder"
    with pytest.raises(UsageError, match=text):
        build_encoder(EncoderSpec("patches", (16, 16)))
    with pytest.raises(UsageError, match="encoder 'patches' is made by --method patches, which decides its shape: "):
        build_encoder(EncoderSpec("patches", (16, 16), settings=SETTINGS | {"layers": 3}))
