import pytest

from selfstudy import config as cfg
from selfstudy.errors import UsageError
from selfstudy.text.config import TextRunConfig


def _base():
    return {"data": {"path": "corpus"}}


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        ("data.context", 0, "greater than or equal to 8"),
        ("data.context", 2, "greater than or equal to 8"),
        ("encoder.width", 0, "greater than or equal to 1"),
        ("encoder.depth", 0, "greater than or equal to 1"),
        ("encoder.heads", 0, "greater than or equal to 1"),
        ("encoder.dropout", 1.5, "less than 1"),
        ("encoder.dropout", -0.1, "greater than or equal to 0"),
    ],
)
def test_a_number_that_no_text_encoder_can_have_is_refused(key, value, why):
    settings = _base()
    cfg.set_key(settings, key, value)
    with pytest.raises(UsageError, match=rf"^setting '{key}': got {value}; input should be 'auto' or {why}$"):
        cfg.validate(TextRunConfig, settings)


def test_a_picture_has_no_place_among_the_settings_of_text():
    settings = _base()
    cfg.set_key(settings, "data.image_size", 32)
    with pytest.raises(UsageError, match=r"unknown setting 'data\.image_size'"):
        cfg.validate(TextRunConfig, settings)
    assert not hasattr(cfg.validate(TextRunConfig, _base()).data, "size")


@pytest.mark.parametrize(("given", "kept"), [("0.1", 0.1), (0.1, 0.1), ("more/text", "more/text"), (0, 0.0)])
def test_what_is_held_out_is_a_share_or_a_path(given, kept):
    settings = _base()
    cfg.set_key(settings, "data.held_out", given)
    found = cfg.validate(TextRunConfig, settings).data.held_out
    assert found == kept and type(found) is type(kept)
