"""The file is opened by timm alone, through the lines that the user is given."""

import pytest
import torch

from selfstudy.encoders.store import load_encoder
from selfstudy.export.timm import export_timm
from tests.export.conftest import SPECS, run_lines, saved


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: f"{spec.name}-{spec.channels}-{spec.stem}")
def test_the_printed_lines_open_the_file_in_timm(tmp_path, spec):
    folder = saved(tmp_path / "encoder", spec)
    result = export_timm(folder, tmp_path / "out")
    images = torch.randn(3, spec.channels, *spec.image_size)
    assert result.max_abs_difference <= 1e-5
    torch.testing.assert_close(run_lines(result.usage)(images), load_encoder(folder)[0](images), atol=1e-5, rtol=1e-5)
