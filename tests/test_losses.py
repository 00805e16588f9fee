"""Tests of selfstudy.losses: each loss documents its shapes and its source, and runs on plain tensors."""

import re

import pytest
import torch

from selfstudy import losses


@pytest.mark.parametrize("name", losses.__all__)
def test_every_loss_says_its_shapes_and_its_source(name):
    doc = getattr(losses, name).__doc__
    assert "Source:" in doc and re.search(r"\((\.\.\.|\d?[A-Z]( [A-Z])?)(, [A-Z])+\)", doc), doc


def test_the_package_offers_them():
    import selfstudy

    q, p = torch.eye(3)[:2], torch.eye(3)[:2]
    assert selfstudy.losses.info_nce(q, p, torch.eye(3)[2:].expand(2, 4, 3), 1.0) > 0
