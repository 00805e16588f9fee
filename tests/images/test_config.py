import pytest

from selfstudy import config as cfg
from selfstudy.errors import UsageError
from selfstudy.images.config import ImageRunConfig


def _config(**groups):
    return cfg.validate(ImageRunConfig, {"data": {"path": "photos", **groups.pop("data", {})}, **groups})


def test_the_size_is_one_side_or_height_and_width():
    assert _config(data={"image_size": 32}).data.image_size == 32
    assert _config(data={"image_size": [96, 64]}).data.image_size == (96, 64)


@pytest.mark.parametrize(("given", "size"), [("32", 32), ("96x64", (96, 64)), ("96X64", (96, 64))])
def test_the_size_may_be_written_as_text(given, size):
    assert _config(data={"image_size": given}).data.image_size == size
    with pytest.raises(
        UsageError, match="setting 'data.image_size': got 'bigx2'; input should be 'auto' or a valid int"
    ):
        _config(data={"image_size": "bigx2"})


@pytest.mark.parametrize("content", ["views: {flip: 0.0}", "flip: 0.0"])
def test_views_may_be_the_name_of_a_yaml_file(tmp_path, content):
    (tmp_path / "own.yaml").write_text(content)
    assert _config(data={"views": str(tmp_path / "own.yaml")}).data.views == {"flip": 0.0}
    assert _config(data={"views": tmp_path / "own.yaml"}).data.views == {"flip": 0.0}


def test_a_preset_may_stand_in_a_yaml_file_and_has_to_be_known_there_too(tmp_path):
    (tmp_path / "own.yml").write_text("views: weak")
    assert _config(data={"views": str(tmp_path / "own.yml")}).data.views == "weak"
    (tmp_path / "own.yml").write_text("views: weka")
    with pytest.raises(UsageError, match="unknown views 'weka'"):
        _config(data={"views": str(tmp_path / "own.yml")})
    with pytest.raises(UsageError, match="none.yaml' does not exist"):
        _config(data={"views": "none.yaml"})


def test_unknown_views_are_refused_with_the_nearest_known_ones():
    with pytest.raises(UsageError, match="unknown views 'weka'; did you mean 'weak'.\nknown: none, weak, strong"):
        _config(data={"views": "weka"})


def test_an_encoder_that_timm_does_not_have_is_refused():
    with pytest.raises(UsageError, match="unknown encoder 'resnet1'; did you mean 'resnet"):
        _config(encoder={"name": "resnet1"})


def test_no_block_of_the_network_is_skipped_unless_it_is_asked_for():
    assert _config().encoder.drop_path == 0
    assert _config(encoder={"drop_path": 0.1}).encoder.drop_path == 0.1
