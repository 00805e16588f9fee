"""No export is kept that computes something else."""

import numpy as np
import pytest
import torch
from torch import nn

from selfstudy.errors import FileRefusedError
from selfstudy.export.result import write_and_compare


def test_a_network_that_computes_something_else_is_refused_and_not_kept(tmp_path):
    ours, theirs = nn.Conv2d(3, 2, 1).eval(), nn.Conv2d(3, 2, 1)
    with pytest.raises(FileRefusedError, match="the exported network differs by"):
        write_and_compare(ours, ours.state_dict(), file=tmp_path / "f", reload=lambda _: theirs, shape=(3, 4, 4))
    assert not (tmp_path / "f").exists()


def test_nan_is_not_agreement(tmp_path):
    ours = nn.Conv2d(3, 2, 1).eval()
    with torch.no_grad():
        ours.weight.fill_(np.nan)
    with pytest.raises(FileRefusedError):
        write_and_compare(ours, ours.state_dict(), file=tmp_path / "f", reload=lambda _: ours, shape=(3, 4, 4))
