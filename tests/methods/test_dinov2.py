"""DINOv2: its three terms put together, how targets are spread, its heads; the losses are in tests/ops."""

import copy
import math

import pytest
import torch
from pydantic import ValidationError

from selfstudy.methods.dinov2 import DINOv2
from selfstudy.ops.block_masks import view_masks
from selfstudy.ops.schedules import Progress
from tests.methods.contract import views_for
from tests.methods.small_encoders import vit
from tests.ops.test_distillation import slow_dino, slow_ibot, slow_koleo
from tests.ops.test_sinkhorn import slow_sinkhorn

SMALL = {"hidden_dim": 16, "bottleneck_dim": 8, "output_dim": 12, "centring": "sinkhorn", "separate_head": True}

NOW = Progress(0, 10)


def _method(**options):
    torch.manual_seed(0)
    method = DINOv2(vit(), DINOv2.Config(**SMALL | {"momentum": 0.9} | options)).double()
    with torch.no_grad():  # a teacher of its own, so that a test sees which of the two was asked
        for parameter in method.teacher.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape))
    return method


def _views():
    return [view.double() for view in views_for(DINOv2)]


def _targets(logits, centre, centring):
    if centring == "sinkhorn":
        return slow_sinkhorn(logits, 0.04, 3)
    return torch.softmax((logits - centre.value) / 0.04, dim=1)


@pytest.mark.parametrize("separate", [True, False])
@pytest.mark.parametrize("centring", ["sinkhorn", "centre"])
def test_the_forward_pass_is_dino_ibot_and_koleo(centring, separate):
    method, views = _method(centring=centring, separate_head=separate), _views()
    if centring == "centre":
        method.centre.value.copy_(torch.linspace(-0.1, 0.1, 12))
        method.patch_centre.value.copy_(torch.linspace(0.2, -0.2, 12))
    loss = method(views, NOW).loss.detach()
    mask = view_masks(views[2], (4, 6), views=2, share=(0.1, 0.5), probability=0.5)
    teacher = copy.deepcopy(method.teacher)
    encoder, heads = teacher.encoder, teacher.head
    patches = torch.zeros(12, 24, 12, dtype=torch.float64)
    with torch.no_grad():
        embedding, tokens = encoder.embed_and_tokens(torch.cat(views[:2]))
        targets = _targets(heads[0](embedding), method.centre, centring).view(2, 6, 12)
        patches[mask] = _targets(heads[-1](tokens[mask]), method.patch_centre, centring)
        embedding, tokens = method.encoder.embed_and_tokens(
            torch.cat(views[:2]), mask=mask, mask_token=method.mask_token
        )
        student = method.heads[0](embedding).view(2, 6, 12)
        hidden = method.heads[-1](tokens.flatten(0, 1)).view(12, 24, 12)
    wanted = slow_dino(student, targets, 0.1) + slow_ibot(hidden, patches, mask, 0.1)
    wanted += 0.1 * sum(slow_koleo(view) for view in embedding.chunk(2))
    assert float(loss) == pytest.approx(wanted, rel=1e-6)


def test_small_views_join_in_the_loss_of_images_alone():
    method, (first, second, draws) = _method(), _views()
    small = [first[:, :, :8, :12], second[:, :, 8:, 12:]]
    without, joined = method([first, second, draws], NOW), method([first, second, *small, draws], NOW)
    assert not torch.allclose(joined.metrics["image_loss"], without.metrics["image_loss"])
    for name in ("patch_loss", "koleo"):
        torch.testing.assert_close(joined.metrics[name], without.metrics[name])


def test_koleo_reaches_the_encoder_and_no_head():
    gradients = []
    for weight in (0.1, 1.1):
        method = _method(koleo_weight=weight)
        method(_views(), NOW).loss.backward()
        gradients.append({name: p.grad for name, p in method.named_parameters() if p.grad is not None})
    for name, gradient in gradients[0].items():
        assert torch.allclose(gradient, gradients[1][name], atol=1e-12) == name.startswith("heads."), name


@pytest.mark.parametrize(("separate", "heads"), [(True, 2), (False, 1)])
def test_images_and_patches_share_a_head_or_do_not(separate, heads):
    method = _method(separate_head=separate)
    assert len(method.heads) == heads and len(method.teacher.head) == heads


def test_both_centres_move_and_equal_shares_have_nothing_to_move():
    method = _method(centring="centre")
    method(_views(), NOW)
    method.after_step(NOW)
    assert method.centre.value.any() and method.patch_centre.value.any()
    assert not [name for name in _method(centring="sinkhorn").state_dict() if "centre" in name]


@pytest.mark.parametrize("separate", [True, False])
def test_prototype_scores_rank_as_the_images_targets_do(separate):
    method, (first, second, draws) = _method(centring="centre", separate_head=separate), _views()
    method.centre.value.copy_(torch.linspace(-1.0, 1.0, 12))
    mask = view_masks(draws, (4, 6), views=2, share=(0.1, 0.5), probability=0.5)
    whole, targets, _ = method._teach(torch.cat([first, second]), mask, NOW)
    best = targets.flatten(0, 1).argmax(dim=1)
    assert torch.equal(method.prototype_scores(whole).argmax(dim=1), best)
    assert not torch.equal(method.teacher.head[0](whole).argmax(dim=1), best)  # so the centre decides here


def test_the_teachers_entropy_comes_with_its_bound_and_the_loss_for_the_same_targets():
    method = _method()
    metrics = method(_views(), NOW).metrics
    assert float(metrics["teacher_entropy"]) < method.uniform_entropy() == math.log(12)
    assert float(metrics["teacher_entropy"]) < float(metrics["image_loss"])


@pytest.mark.parametrize("options", [{"mask_share": (0.1, 1.5)}, {"teacher_temperature": (-0.04, 0.07)}])
def test_shares_and_temperatures_that_make_no_sense_are_refused(options):
    with pytest.raises(ValidationError, match=r"less than or equal to 1|greater than 0"):
        DINOv2.Config(**options)


def test_all_prototypes_stand_still_at_the_beginning_only():
    method = _method(freeze_fraction=0.5)
    for step, frozen in ((0, True), (9, False)):
        method(_views(), Progress(step, 10)).loss.backward()
        method.before_step(Progress(step, 10))
        assert [head.prototypes.grad is None for head in method.heads] == [frozen, frozen]


def test_the_teacher_follows_with_all_its_heads_and_is_taken_away():
    method = _method()
    mine, theirs = list(method.teacher.parameters()), [*method.encoder.parameters(), *method.heads.parameters()]
    wanted = [0.9 * old + 0.1 * goal.detach() for old, goal in zip(mine, theirs, strict=True)]
    method.after_step(NOW)
    torch.testing.assert_close(mine, wanted)
    which, taken = method.representation()
    assert which == "teacher" and taken is method.teacher.encoder
