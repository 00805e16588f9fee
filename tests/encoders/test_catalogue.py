"""Every encoder in the lists is one that timm has, of the size that its line says."""

import re

import pytest
import timm
import torch

from selfstudy.encoders.catalogue import CATALOGUE


@pytest.mark.parametrize("name", CATALOGUE)
def test_an_encoder_has_the_parameters_that_its_line_says(name):
    with torch.device("meta"):
        network = timm.create_model(name, num_classes=0)
    million = sum(value.numel() for value in network.parameters()) / 1e6
    assert float(re.search(r"([\d.]+) M", CATALOGUE[name])[1]) == pytest.approx(million, abs=0.06)
