"""SupCon: what it feeds to the loss of tests/ops/test_contrastive.py, and that labels matter."""

import pytest
import torch

from selfstudy.methods.supcon import SupCon
from selfstudy.ops.contrastive import nt_xent, supervised_contrastive
from selfstudy.ops.schedules import Progress
from selfstudy.views.spec import Labels
from tests.methods.small_encoders import ConvNet

SMALL = {"hidden_dim": 16, "projection_dim": 8}

LABELS = torch.tensor([0, 1, 0, 2, 1, 0])


def _method():
    torch.manual_seed(0)
    return SupCon(ConvNet(), SupCon.Config(hidden_dim=16, projection_dim=8, temperature=0.3))


def _views():
    return [torch.randn(6, 3, 16, 16, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1)]


def _loss(method, labels):
    return method([*_views(), labels], Progress(0, 1)).loss


def test_the_loss_is_the_supervised_one_of_both_views_encoded_in_one_batch():
    method, views = _method(), _views()
    output = method([*views, LABELS], Progress(0, 1))
    together = method.projector(method.encoder(torch.cat(views)))  # BatchNorm sees 12 images
    assert torch.equal(output.loss, supervised_contrastive(together, LABELS, 0.3))
    assert output.embedding.shape == (6, 16)


def test_other_labels_are_another_loss_but_other_names_are_not():
    method = _method()
    assert torch.equal(_loss(method, LABELS), _loss(method, LABELS + 40))
    assert not torch.allclose(_loss(method, LABELS), _loss(method, LABELS.roll(1)))


def test_images_alone_in_their_class_are_simclrs():
    method = _method()
    together = method.projector(method.encoder(torch.cat(_views())))
    torch.testing.assert_close(_loss(method, torch.arange(6)), nt_xent(together, 0.3))


def test_it_asks_for_labels_openly_and_last():
    assert SupCon.reads.labels and isinstance(SupCon.default_views((32, 32))[-1], Labels)


def test_the_projector_has_no_batch_norm():
    assert not any(isinstance(layer, torch.nn.BatchNorm1d) for layer in _method().projector)


def test_the_chance_loss_is_that_of_equal_embeddings():
    chance, formula = _method().chance_loss(6)
    equal = supervised_contrastive(torch.ones(12, 3), LABELS, 0.1)
    assert formula == "ln(2B - 1)" and chance == pytest.approx(float(equal), rel=1e-6)
