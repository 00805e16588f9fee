import io

import numpy as np
import pytest
import torch
import torchvision.transforms.v2.functional as TF
from PIL import Image

from selfstudy.images.decode import BadInput, decode, header, read_bytes, shrunk, with_channels


def _bytes(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _gradient(mode="RGB", size=(24, 16)):
    pixels = np.arange(size[0] * size[1] * 3, dtype=np.uint32).reshape(size[1], size[0], 3) % 256
    return Image.fromarray(pixels.astype(np.uint8)).convert(mode)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "WEBP"])
def test_lossless_formats_give_the_same_pixels(kind):
    image = _gradient()
    options = {"lossless": True} if kind == "WEBP" else {}
    assert np.array_equal(decode(_bytes(image, kind, **options)).permute(1, 2, 0).numpy(), np.asarray(image))


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("1", 1), ("P", 3), ("CMYK", 3), ("RGBA", 3), ("LA", 1)])
def test_every_mode_has_documented_channels_and_the_header_agrees(mode, channels):
    content = _bytes(_gradient(mode), "TIFF" if mode == "CMYK" else "PNG")
    assert decode(content).shape == (channels, 16, 24)
    assert header(content)[1:] == (16, 24, channels)


def test_transparency_is_composited_on_white_not_shown():
    hidden = Image.new("RGBA", (8, 8), (200, 0, 0, 0))
    assert decode(_bytes(hidden)).min() == 255
    half = Image.new("RGBA", (8, 8), (0, 0, 0, 128))
    assert decode(_bytes(half))[0, 0, 0] == pytest.approx(127, abs=1)


def test_all_eight_exif_orientations_show_the_same_picture():
    upright = _gradient(size=(24, 16))
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
    expected = decode(_bytes(upright))
    for orientation, operation in undo.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        content = _bytes(upright.transpose(Image.Transpose(operation)), exif=exif)
        assert np.array_equal(decode(content), expected), orientation
        assert header(content)[1:3] == (16, 24)


def test_sixteen_bits_are_scaled_and_keep_their_levels():
    ramp = np.linspace(0, 65535, 32 * 32).reshape(32, 32).astype(np.uint16)
    for kind in ("PNG", "TIFF"):
        image = decode(_bytes(Image.fromarray(ramp), kind))
        assert image.dtype.is_floating_point and image.shape == (1, 32, 32)
        assert len(image.unique()) > 1000
        assert np.allclose(image[0].numpy(), ramp / 65535, atol=1e-6)


def test_a_float_file_is_used_only_where_its_range_is_clear():
    assert decode(_bytes(Image.fromarray(np.full((9, 9), 0.5, np.float32)), "TIFF")).mean() == 0.5
    with pytest.raises(BadInput, match=r"float values from 7 to 7; only \[0, 1\] is unambiguous"):
        decode(_bytes(Image.fromarray(np.full((9, 9), 7, np.float32)), "TIFF"))


def _damaged():
    png, jpeg = _bytes(_gradient(size=(64, 64))), _bytes(_gradient(size=(64, 64)), "JPEG")
    crc = bytearray(png)
    crc[len(png) // 2] ^= 0x10
    return {
        "empty": b"",
        "html": b"<html>not found</html>",
        "truncated jpeg": jpeg[: len(jpeg) // 2],
        "truncated png": png[: len(png) // 2],
        "crc": bytes(crc),
        "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        "pickle": b"\x80\x04\x95\x00\x00.",
    }


@pytest.mark.parametrize("name", sorted(_damaged()))
def test_what_is_no_whole_image_is_refused_with_a_reason(name):
    with pytest.raises(BadInput) as error:
        decode(_damaged()[name])
    assert len(str(error.value)) > 5


def test_a_huge_picture_is_refused_from_its_header():
    content = _bytes(Image.new("1", (9000, 9000)))
    with pytest.raises(BadInput, match=r"81,000,000 pixels, more than 64,000,000"):
        header(content)


def test_colour_is_never_dropped_and_gray_is_repeated_only_for_three():
    gray, colour = decode(_bytes(_gradient("L"))), decode(_bytes(_gradient()))
    assert with_channels(gray, 3).shape == (3, 16, 24)
    with pytest.raises(BadInput, match="has 3 channels, 1 are needed"):
        with_channels(colour, 1)


def test_a_folder_or_missing_file_is_no_input(tmp_path):
    with pytest.raises(BadInput, match="is not a file"):
        read_bytes(tmp_path)
    with pytest.raises(BadInput, match="does not exist"):
        read_bytes(tmp_path / "none.png")


@pytest.fixture
def photo():
    """A smooth JPEG of 480 x 640 pixels, and its pixels."""
    y, x = np.mgrid[0:480, 0:640] / 640
    pixels = np.stack([x, y, 1 - x], axis=-1)
    buffer = io.BytesIO()
    Image.fromarray((255 * pixels).astype(np.uint8)).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


@pytest.mark.parametrize("side", [60, 100, 240, 479])
def test_a_large_photo_is_shrunk_to_a_shorter_side_with_the_same_content(photo, side):
    small = decode(photo, side)
    assert small.shape == (3, side, round(640 * side / 480)) and small.dtype == torch.uint8
    whole = TF.resize(decode(photo), list(small.shape[-2:]), antialias=True)
    assert (small.float() - whole.float()).abs().mean() < 1.0  # of 255


@pytest.mark.parametrize("side", [None, 480, 500])
def test_an_image_that_is_not_larger_is_decoded_as_it_was(photo, side):
    assert torch.equal(decode(photo, side), decode(photo))


def test_a_photo_on_its_side_is_shrunk_upright():
    image, buffer = Image.new("RGB", (400, 200)), io.BytesIO()
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(buffer, "JPEG", exif=exif)
    assert decode(buffer.getvalue(), 50).shape == (3, 100, 50)


def test_floats_and_flat_images_are_shrunk_too():
    assert shrunk(torch.full((1, 40, 10), 0.5), 5).shape == (1, 20, 5)
    assert shrunk(torch.full((1, 40, 10), 0.5), 5).unique().tolist() == [0.5]
