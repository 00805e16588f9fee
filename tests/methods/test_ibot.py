"""iBOT: what it feeds to the losses of tests/ops/test_distillation.py, its two centres, the last layer, the teacher."""

import copy
import math

import pytest
import torch
from pydantic import ValidationError

from selfstudy.methods.ibot import IBOT
from selfstudy.ops.block_masks import view_masks
from selfstudy.ops.schedules import Progress
from tests.methods.contract import views_for
from tests.methods.small_encoders import vit
from tests.ops.test_distillation import slow_dino, slow_ibot

SMALL = {"hidden_dim": 16, "bottleneck_dim": 8, "output_dim": 12}

NOW = Progress(0, 10)


def _method(**options):
    torch.manual_seed(0)
    method = IBOT(vit(), IBOT.Config(**SMALL | {"momentum": 0.9, "warm_fraction": 0.5} | options))
    torch.nn.init.normal_(method.mask_token, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():  # a teacher of its own, so that a test sees which of the two was asked
        for parameter in method.teacher.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape))
    return method


def _views():
    """Two large views, two small ones, the draws."""
    *large, draws = views_for(IBOT)
    return [*large, *(view[:, :, :8, :12] for view in large), draws]


def _mask(draws):
    return view_masks(draws, (4, 6), views=2, share=(0.1, 0.5), probability=0.5)


def test_the_forward_pass_is_both_losses_of_centred_sharpened_targets_of_whole_views():
    method, views = _method(patch_weight=0.5), _views()
    method.centre.value.copy_(torch.linspace(-0.1, 0.1, 12))
    method.patch_centre.value.copy_(torch.linspace(0.2, -0.2, 12))
    loss = method(views, NOW).loss.detach()
    teacher, mask, large = copy.deepcopy(method.teacher), _mask(views[4]), torch.cat(views[:2])
    encoder, head = teacher.encoder, teacher.head
    with torch.no_grad():
        embedding, tokens = encoder.embed_and_tokens(large)
        targets = torch.softmax((head(embedding) - method.centre.value) / 0.04, dim=1)
        patches = torch.softmax((head(tokens.flatten(0, 1)) - method.patch_centre.value) / 0.04, dim=1)
        embedding, tokens = method.encoder.embed_and_tokens(large, mask=mask, mask_token=method.mask_token)
        student = method.head(torch.cat([embedding, method.encoder(torch.cat(views[2:4]))])).view(4, 6, 12)
        hidden = method.head(tokens.flatten(0, 1)).view(12, 24, 12)
    wanted = slow_dino(student, targets.view(2, 6, 12), 0.1)
    wanted += 0.5 * slow_ibot(hidden, patches.view(12, 24, 12), mask, 0.1)
    assert float(loss) == pytest.approx(wanted, rel=1e-5)


def test_what_is_hidden_from_the_student_reaches_only_the_targets():
    """With nothing but the hidden patches changed, the student's outputs stay and the teacher's targets do not."""
    method, views = _method(), _views()[:2] + _views()[4:]
    seen = []
    method.head.register_forward_hook(lambda module, given, output: seen.append(output.detach()))
    first = method(views, NOW)
    pixels = _mask(views[2]).view(2, 6, 1, 4, 6).repeat_interleave(4, dim=3).repeat_interleave(4, dim=4)
    second = method(
        [*(torch.where(hide, view + 1, view) for hide, view in zip(pixels, views, strict=False)), views[2]], NOW
    )
    torch.testing.assert_close(seen[2:], seen[:2])
    assert not torch.allclose(first.loss, second.loss) and not torch.allclose(first.embedding, second.embedding)


def test_each_centre_follows_its_own_mean_once_per_step():
    method, views = _method(), _views()
    encoder, head = method.teacher.encoder, method.teacher.head
    with torch.no_grad():
        embedding, tokens = encoder.embed_and_tokens(torch.cat(views[:2]))
        means = head(embedding).mean(dim=0), head(tokens[_mask(views[4])]).mean(dim=0)
    method(views, NOW)
    assert not method.centre.value.any() and not method.patch_centre.value.any()
    method.after_step(NOW)
    torch.testing.assert_close((method.centre.value, method.patch_centre.value), tuple(0.1 * mean for mean in means))


def test_equal_shares_may_take_the_place_of_the_centres():
    method = _method(centring="sinkhorn")
    output = method(_views(), NOW)
    assert torch.isfinite(output.loss) and not [name for name in method.state_dict() if "centre" in name]


def test_targets_soften_until_the_teacher_is_warm():
    entropies = [float(_method()(_views(), Progress(step, 10)).metrics["teacher_entropy"]) for step in (0, 5, 9)]
    assert entropies[0] < entropies[1] == entropies[2]


def test_the_entropies_of_images_and_patches_are_told_apart_and_the_first_is_at_most_its_bound():
    method, views = _method(), _views()
    wanted = []
    with torch.no_grad():
        for targets in method._teach(torch.cat(views[:2]), _mask(views[4]), NOW)[1:]:
            wanted.append(float(-(targets * targets.log()).sum(dim=1).mean()))
    metrics = method(views, NOW).metrics
    assert [float(metrics[name]) for name in ("teacher_entropy", "patch_entropy")] == pytest.approx(wanted, rel=1e-5)
    assert wanted[0] != pytest.approx(wanted[1], rel=1e-3)
    assert float(metrics["teacher_entropy"]) < method.uniform_entropy() == math.log(12)


def test_prototype_scores_rank_as_the_targets_do():
    method, views = _method(), _views()
    method.centre.value.copy_(torch.linspace(-1.0, 1.0, 12))
    whole, targets, _ = method._teach(torch.cat(views[:2]), _mask(views[4]), NOW)
    scores = method.prototype_scores(whole)
    assert torch.equal(scores.argmax(dim=1), targets.argmax(dim=1))
    plain = method.teacher.head(whole)
    assert not torch.equal(plain.argmax(dim=1), targets.argmax(dim=1))  # so the centre decides here
    torch.testing.assert_close(scores, plain - method.centre.value)


def test_scores_with_equal_shares_are_the_plain_outputs():
    method, views = _method(centring="sinkhorn"), _views()
    whole = method.teacher.encoder(views[0])
    assert torch.equal(method.prototype_scores(whole), method.teacher.head(whole))


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"mask_share": (-0.1, 0.5)}, "greater than or equal to 0"),
        ({"mask_share": (0.1, 1.5)}, "less than or equal to 1"),
        ({"teacher_temperature": (0.04, -0.07)}, "greater than 0"),
        ({"teacher_temperature": (0.0, 0.07)}, "greater than 0"),
    ],
)
def test_shares_and_temperatures_that_make_no_sense_are_refused(options, complaint):
    with pytest.raises(ValidationError, match=complaint):
        IBOT.Config(**options)


def test_the_last_layer_stands_still_at_the_beginning_only():
    method = _method(freeze_fraction=0.5)
    for step, frozen in ((0, True), (9, False)):
        method(_views(), Progress(step, 10)).loss.backward()
        method.before_step(Progress(step, 10))
        assert (method.head.prototypes.grad is None) == frozen


def test_the_teachers_momentum_rises_to_one():
    method = _method()
    mine, theirs = list(method.teacher.parameters()), [*method.encoder.parameters(), *method.head.parameters()]
    for step, momentum in ((0, 0.9), (5, 0.95), (10, 1.0)):
        wanted = [momentum * old + (1 - momentum) * goal.detach() for old, goal in zip(mine, theirs, strict=True)]
        method.after_step(Progress(step, 10))
        torch.testing.assert_close(mine, wanted)


def test_uniform_outputs_cost_the_chance_loss():
    method = _method(patch_weight=2.0)
    torch.nn.init.ones_(method.head.prototypes)
    chance, formula = method.chance_loss(6)
    assert formula == "2 ln K" and float(method(_views(), NOW).loss.detach()) == pytest.approx(chance, rel=1e-5)


def test_the_teacher_is_what_users_take_away_and_what_monitors_see():
    method, views = _method(), _views()
    which, encoder = method.representation()
    assert which == "teacher" and encoder is method.teacher.encoder
    torch.testing.assert_close(method(views, NOW).embedding, encoder(views[0]).detach())


def test_small_images_have_no_small_views():
    assert len(IBOT.default_views((32, 32))) == 3 and IBOT.default_views((224, 224))[2].size == (112, 112)
