"""MoCo v3: which queries meet which keys, what is frozen, and when the key encoder moves."""

import copy
import math

import pytest
import torch
from torch.nn.functional import normalize

from selfstudy.methods.base import DataFacts
from selfstudy.methods.moco_v3 import MoCoV3
from selfstudy.ops.schedules import Progress
from tests.methods.small_encoders import ConvNet, vit

SMALL = {"hidden_dim": 16, "projection_dim": 8}

NOW = Progress(0, 10)


def _method(encoder=ConvNet, **options):
    torch.manual_seed(0)
    config = MoCoV3.Config(hidden_dim=16, projection_dim=8, temperature=0.3, momentum=0.9, **options)
    return MoCoV3(encoder(), config)


def _views():
    return [torch.randn(6, 3, 16, 24, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1)]


def slow_loss(queries, keys, t):
    """Algorithm 1 for one direction, query by query, with its factor 2 T."""
    q, k = normalize(queries.double(), dim=1), normalize(keys.double(), dim=1)
    total = 0.0
    for i in range(len(q)):
        own = math.exp(float(q[i] @ k[i]) / t)
        total -= math.log(own / sum(math.exp(float(q[i] @ other) / t) for other in k))
    return 2 * t * total / len(q)


def test_the_loss_is_algorithm_1_in_both_directions():
    method, (first, second) = _method(), _views()
    again = copy.deepcopy(method)
    loss = method([first, second], NOW).loss.detach()
    wanted = 0.0
    for query_view, key_view in [(first, second), (second, first)]:
        query = again.predictor(again.projector(again.encoder(query_view)))
        wanted += slow_loss(query.detach(), again.teacher(key_view), 0.3)
    assert float(loss) == pytest.approx(wanted, rel=1e-6)


def test_swapping_the_views_leaves_the_loss():
    method, (first, second) = _method(), _views()
    loss, swapped = (copy.deepcopy(method)(views, NOW).loss for views in ([first, second], [second, first]))
    torch.testing.assert_close(loss, swapped)


def test_keys_carry_no_gradient_and_queries_do():
    method = _method()
    method(_views(), NOW).loss.backward()
    assert all(p.grad is None for p in method.teacher.parameters())
    assert all(float(p.grad.abs().sum()) > 0 for p in method.predictor.parameters())


def test_the_key_encoder_has_no_predictor_and_follows_encoder_and_projector():
    method = _method()
    with torch.no_grad():
        for parameter in method.encoder.parameters():
            parameter.add_(1.0)
    before = [p.clone() for p in method.teacher.parameters()]
    method.after_step(NOW)
    source = [*method.encoder.parameters(), *method.projector.parameters()]
    for old, new, goal in zip(before, method.teacher.parameters(), source, strict=True):
        torch.testing.assert_close(new, 0.9 * old + 0.1 * goal)


def test_the_momentum_rises_to_one():
    method = _method()
    with torch.no_grad():
        method.projector[0].weight.add_(1.0)
    before = [p.clone() for p in method.teacher.parameters()]
    method.after_step(Progress(10, 10))
    assert all(torch.equal(a, b) for a, b in zip(before, method.teacher.parameters(), strict=True))


def test_the_key_encoder_normalises_with_its_own_batch():
    method = _method()
    assert all(m.training for m in method.teacher.modules())
    assert not any(m.training for m in method.eval().teacher.modules())


def test_both_heads_end_in_a_batch_norm_without_scale_and_shift():
    method = _method()
    for head, depth in [(method.projector, 3), (method.predictor, 2)]:
        assert sum(isinstance(layer, torch.nn.Linear) for layer in head) == depth
        assert isinstance(head[-1], torch.nn.BatchNorm1d) and not head[-1].affine and head[-2].bias is None


@pytest.mark.parametrize("freeze", [True, False])
def test_the_patch_embedding_of_a_vision_transformer_is_frozen(freeze):
    method = _method(vit, freeze_patches=freeze)
    frozen = {name for name, p in method.encoder.named_parameters() if not p.requires_grad}
    assert frozen == ({"network.patch_embed.proj.weight", "network.patch_embed.proj.bias"} if freeze else set())


def test_a_resnet_trains_every_layer():
    assert all(p.requires_grad for p in _method().encoder.parameters())


def test_the_chance_loss_is_that_of_equal_embeddings():
    method = _method()
    same = torch.ones(6, 8)
    assert method.chance_loss(6) == (pytest.approx(2 * slow_loss(same, same, 0.3)), "4 T ln B")


def test_a_short_run_has_a_faster_key_encoder_and_a_long_one_the_papers_settings():
    short, long = (MoCoV3.recipe(DataFacts(50_000, (32, 32), 3, 256, steps)) for steps in (300, 100_000))
    assert short.method["momentum"] == 0.96 and long.method == {}
    assert long.optimizer["lr"] == 1.5e-4 and long.optimizer["weight_decay"] == 0.1


def test_small_images_are_not_blurred():
    assert [view.blur for view in MoCoV3.default_views((32, 32))] == [0.0, 0.0]
    assert [(view.blur, view.solarize) for view in MoCoV3.default_views((224, 224))] == [(1.0, 0.0), (0.1, 0.2)]


def test_one_direction_equals_lightlys_loss_on_a_memory_bank_of_the_other_keys():
    """lightly has no loss within the batch without the queries' own view; its bank holds the negatives as columns."""
    lightly = pytest.importorskip("lightly.loss")
    from selfstudy.ops.contrastive import info_nce_in_batch

    q, k = (torch.randn(6, 8, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    total = 0.0
    for i in range(6):
        theirs = lightly.NTXentLoss(temperature=0.3, memory_bank_size=(5, 8))
        theirs.memory_bank.bank = normalize(torch.cat([k[:i], k[i + 1 :]]), dim=1)
        theirs.memory_bank.bank_ptr = torch.zeros(1, dtype=torch.int64)
        total += float(theirs(q[i : i + 1], k[i : i + 1])) / 6
    assert float(info_nce_in_batch(q, k, 0.3)) == pytest.approx(total, rel=1e-5)
