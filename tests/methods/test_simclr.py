"""SimCLR: what it feeds to the loss of tests/ops/test_contrastive.py."""

import pytest
import torch

from selfstudy.methods.simclr import SimCLR
from selfstudy.ops.contrastive import nt_xent
from selfstudy.ops.schedules import Progress
from tests.methods.small_encoders import ConvNet

SMALL = {"hidden_dim": 16, "projection_dim": 8}


def test_the_loss_is_nt_xent_of_both_views_encoded_in_one_batch():
    torch.manual_seed(0)
    method = SimCLR(ConvNet(), SimCLR.Config(temperature=0.3, hidden_dim=16, projection_dim=8))
    views = [torch.randn(6, 3, 16, 16) for _ in range(2)]
    output = method(views, Progress(0, 1))
    together = method.projector(method.encoder(torch.cat(views)))  # BatchNorm sees 12 images
    apart = torch.cat([method.projector(method.encoder(view)) for view in views])
    assert torch.equal(output.loss, nt_xent(together, 0.3))
    assert not torch.allclose(output.loss, nt_xent(apart, 0.3))
    assert output.embedding.shape == (6, 16)


def test_the_chance_loss_is_that_of_equal_embeddings():
    chance, formula = SimCLR(ConvNet()).chance_loss(6)
    assert formula == "ln(2B - 1)" and chance == pytest.approx(float(nt_xent(torch.ones(12, 3), 0.2)), rel=1e-6)


def test_small_images_are_not_blurred():
    assert SimCLR.default_views((32, 32))[0].blur == 0 and SimCLR.default_views((224, 224))[0].blur == 0.5
