import pytest

from selfstudy import config as cfg
from selfstudy.errors import UsageError
from selfstudy.images.config import ImageRunConfig


def _config(**groups):
    return cfg.validate(ImageRunConfig, {"data": {"path": "photos", **groups.pop("data", {})}, **groups})


def test_the_size_is_height_and_width_whichever_way_it_was_given():
    assert _config(data={"image_size": 32}).data.size == (32, 32)
    assert _config(data={"image_size": [96, 64]}).data.size == (96, 64)
    with pytest.raises(ValueError, match="used before it was resolved"):
        _ = _config().data.size


def test_unknown_views_are_refused_with_the_nearest_known_ones():
    with pytest.raises(UsageError, match="unknown views 'weka'; did you mean 'weak'.\nknown: none, weak, strong"):
        _config(data={"views": "weka"})


def test_an_encoder_that_timm_does_not_have_is_refused():
    with pytest.raises(UsageError, match="unknown encoder 'resnet1'; did you mean 'resnet"):
        _config(encoder={"name": "resnet1"})
