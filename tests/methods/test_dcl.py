"""DCL: what it feeds to the loss of tests/ops/test_contrastive.py."""

import math

import pytest
import torch

from selfstudy.methods.base import DataFacts
from selfstudy.methods.dcl import DCL
from selfstudy.ops.contrastive import decoupled_contrastive
from selfstudy.ops.schedules import Progress
from tests.methods.small_encoders import ConvNet

SMALL = {"hidden_dim": 16, "projection_dim": 8, "sigma": 0.5}


def _method(**options):
    torch.manual_seed(0)
    return DCL(ConvNet(), DCL.Config(hidden_dim=16, projection_dim=8, temperature=0.3, **options))


def _views():
    return [torch.randn(6, 3, 16, 16, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1)]


@pytest.mark.parametrize("sigma", [None, 0.5])
def test_the_loss_is_the_decoupled_one_of_both_views_encoded_in_one_batch(sigma):
    method, views = _method(sigma=sigma), _views()
    output = method(views, Progress(0, 1))
    together = method.projector(method.encoder(torch.cat(views)))  # BatchNorm sees 12 images
    apart = torch.cat([method.projector(method.encoder(view)) for view in views])
    assert torch.equal(output.loss, decoupled_contrastive(together, 0.3, sigma or math.inf))
    assert not torch.allclose(output.loss, decoupled_contrastive(apart, 0.3, sigma or math.inf))
    assert output.embedding.shape == (6, 16)


def test_sigma_changes_the_loss():
    assert _method(sigma=0.1)(_views(), Progress(0, 1)).loss != _method()(_views(), Progress(0, 1)).loss


def test_the_chance_loss_is_that_of_equal_embeddings_and_one_image_has_none():
    chance, formula = _method().chance_loss(6)
    assert formula == "ln(2B - 2)"
    assert chance == pytest.approx(float(decoupled_contrastive(torch.ones(12, 3), 0.2)), rel=1e-6)
    assert _method().chance_loss(1) is None


def test_a_long_run_has_the_papers_temperature():
    short, long = (DCL.recipe(DataFacts(50_000, (32, 32), 3, 256, steps)).method for steps in (300, 100_000))
    assert short == {"temperature": 0.2} and long == {} and DCL.Config().temperature == 0.1


def test_small_images_are_not_blurred():
    assert DCL.default_views((32, 32))[0].blur == 0 and DCL.default_views((224, 224))[0].blur == 0.5
