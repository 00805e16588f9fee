"""Losses run in float32, independent of the precision of the forward pass."""

import pytest
import torch

from selfstudy.ops.precision import full_precision


@full_precision
def product(first, second, *, third=None, scale=1.0):
    """A loss with a matrix product, which autocast would run in bfloat16."""
    found = first @ second * scale
    return found if third is None else found + third


def rows(dtype=torch.float32):
    return torch.randn(4, 4, generator=torch.Generator().manual_seed(0)).to(dtype)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_arrives_as_float32_by_place_and_by_name(dtype):
    found = product(rows(dtype), second=rows(dtype), third=rows(dtype))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, rows(dtype).float() @ rows(dtype).float() + rows(dtype).float())


def test_float64_stays():
    assert product(rows(torch.float64), rows(torch.float64)).dtype == torch.float64


def test_autocast_does_not_reach_the_body_and_is_back_afterwards():
    with torch.autocast("cpu", torch.bfloat16):
        found = product(rows(), rows(), scale=2.0)
        assert (rows() @ rows()).dtype == torch.bfloat16
    assert torch.equal(found, rows() @ rows() * 2.0)


def test_a_loss_keeps_its_name_and_its_docstring():
    assert product.__name__ == "product" and product.__doc__.startswith("A loss with")
