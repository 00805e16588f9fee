"""Sheets measured pixel by pixel."""

import numpy as np
import pytest
import torch

from selfstudy.views.pictures import Cell, as_picture, denormalised, heat, sheet


def _flat(level, channels=3, size=(8, 8)):
    return torch.full((channels, *size), level)


def test_a_cell_lies_where_its_row_and_column_say():
    picture = np.asarray(sheet([[Cell(_flat(0.0)), Cell(_flat(1.0))], [Cell(_flat(0.5))]], side=16))
    assert picture.shape == (4 + 2 * 20, 4 + 2 * 20, 3)
    assert (picture[4:20, 4:20] == 0).all() and (picture[24:40, 4:20] == 128).all()
    assert (picture[:, :4] == 255).all() and (picture[24:, 24:] == 255).all()


def test_captions_have_a_line_of_their_own_under_the_images():
    plain = sheet([[Cell(_flat(0.0))]], side=32)
    named = sheet([[Cell(_flat(0.0), "query")]], side=32)
    assert named.height > plain.height and named.width == plain.width
    below = np.asarray(named)[4 + 32 :]
    assert below.min() < 100 and (np.asarray(named)[4:36, 4:36] == 0).all()


def test_oblong_images_keep_their_proportions():
    picture = np.asarray(sheet([[Cell(_flat(0.0, size=(10, 40)))]], side=20))
    assert (picture[4:9, 4:24] == 0).all() and (picture[9:, :] == 255).all()


@pytest.mark.parametrize(("channels", "shown"), [(1, [7, 7, 7]), (2, [7, 7, 7]), (3, [7, 8, 9]), (5, [7, 8, 9])])
def test_any_number_of_channels_can_be_shown(channels, shown):
    image = torch.arange(7, 7 + channels, dtype=torch.uint8)[:, None, None].expand(-1, 4, 4)
    assert np.asarray(as_picture(image))[0, 0].tolist() == shown


def test_denormalising_undoes_normalising():
    images = torch.rand(2, 3, 4, 4)
    mean, std = [0.4, 0.5, 0.6], [0.2, 0.3, 0.4]
    normalised = (images - torch.tensor(mean).view(1, 3, 1, 1)) / torch.tensor(std).view(1, 3, 1, 1)
    torch.testing.assert_close(denormalised(normalised, mean, std), images)


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_heat_is_brightest_and_warmest_where_the_weight_is(channels):
    weights = torch.zeros(2, 3)
    weights[1, 2] = 5.0
    found = heat(torch.full((channels, 8, 12), 0.5), weights)
    assert found.shape == (3, 8, 12) and 0 <= float(found.min()) and float(found.max()) <= 1
    assert float(found[0, 4:, 8:].min()) > float(found[0, :4].max()) + 0.4
    assert torch.isfinite(heat(torch.zeros(channels, 8, 12), torch.ones(2, 3))).all(), "equal weights"
