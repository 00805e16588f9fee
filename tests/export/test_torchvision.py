"""The file is opened by torchvision alone, through the lines that the user is given."""

import pytest
import torch

from selfstudy.encoders.store import load_encoder
from selfstudy.errors import UsageError
from selfstudy.export.torchvision import export_torchvision
from tests.export.conftest import SPECS, run_lines, saved


@pytest.mark.parametrize("spec", SPECS[:3], ids=["stock", "small, one channel", "no pool"])
def test_the_printed_lines_open_the_file_in_torchvision(tmp_path, spec):
    folder = saved(tmp_path / "encoder", spec)
    result = export_torchvision(folder, tmp_path / "out")
    images = torch.randn(3, spec.channels, *spec.image_size)
    torch.testing.assert_close(run_lines(result.usage)(images), load_encoder(folder)[0](images), atol=1e-5, rtol=1e-5)


def test_a_network_torchvision_does_not_have_is_refused(tmp_path):
    folder = saved(tmp_path / "encoder", SPECS[3])
    with pytest.raises(UsageError, match="torchvision has no resnet10t\nallowed: resnet18.*use --to timm"):
        export_torchvision(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()
