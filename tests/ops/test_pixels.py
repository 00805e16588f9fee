"""Numbers in an image."""

import pytest
import torch

from selfstudy.ops.pixels import as_float


def test_bytes_are_divided_by_255():
    found = as_float(torch.tensor([0, 51, 255], dtype=torch.uint8))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, torch.tensor([0, 0.2, 1]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_fractions_stay_what_they_are(dtype):
    found = as_float(torch.tensor([0.25, 1.0], dtype=dtype))
    assert found.dtype == torch.float32 and found.tolist() == [0.25, 1.0]
