"""MSN: predictions and loss against the paper as slow loops, what anchors and target see, prototypes and teacher."""

import copy
import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from selfstudy.methods.msn import MSN, log_predictions, msn_loss
from selfstudy.ops.masks import patch_draws, random_order
from selfstudy.ops.schedules import Progress
from selfstudy.ops.sinkhorn import sinkhorn
from tests.methods.small_encoders import vit

SMALL = {"hidden_dim": 16, "projection_dim": 8, "prototypes": 10}
NOW = Progress(0, 10)


def _random(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def slow_predictions(z: Tensor, prototypes: Tensor, t: float) -> list[list[float]]:
    """Softmax of the cosines with the prototypes."""
    rows = []
    for x in z:
        exponentials = [math.exp(float(x @ q / (x.norm() * q.norm())) / t) for q in prototypes]
        rows.append([value / sum(exponentials) for value in exponentials])
    return rows


def slow_msn(predicted: list[list[list[float]]], targets: Tensor, weight: float) -> float:
    """Cross entropies of every anchor, and the entropy of their mean below its largest value, ln K."""
    rows = [(p, q.tolist()) for view in predicted for p, q in zip(view, targets, strict=True)]
    cross = [-sum(target * math.log(share) for share, target in zip(p, q, strict=True)) for p, q in rows]
    mean = [sum(p[k] for p, _ in rows) / len(rows) for k in range(targets.shape[1])]
    return sum(cross) / len(cross) + weight * (math.log(len(mean)) + sum(m * math.log(m) for m in mean))


def test_predictions_and_loss_are_the_papers_equations():
    z, prototypes, targets = _random(3, 4, 5), _random(7, 5, seed=1), torch.softmax(_random(4, 7, seed=2), dim=1)
    predicted = [slow_predictions(view, prototypes, 0.1) for view in z]
    ours = log_predictions(z, prototypes, 0.1)
    torch.testing.assert_close(ours.exp(), torch.tensor(predicted, dtype=torch.float64), rtol=1e-9, atol=0)
    for weight in (0.0, 1.0):
        assert float(msn_loss(ours, targets, weight)) == pytest.approx(slow_msn(predicted, targets, weight), rel=1e-9)


def test_sharpening_is_a_lower_temperature():
    z, prototypes = _random(4, 5), _random(7, 5, seed=1)
    powers = torch.tensor(slow_predictions(z, prototypes, 0.1), dtype=torch.float64) ** (1 / 0.25)
    sharpened = powers / powers.sum(dim=1, keepdim=True)
    torch.testing.assert_close(log_predictions(z, prototypes, 0.1 * 0.25).exp(), sharpened, rtol=1e-9, atol=0)


def test_the_loss_by_hand():
    """Sure of one prototype each with 3 / 4, two images cost ln(4 / 3); of the same one, their mean costs as well."""
    first, second = [0.75, 0.25], [0.25, 0.75]
    targets = torch.eye(2, dtype=torch.float64)
    apart = torch.tensor([[first, second]], dtype=torch.float64).log()
    assert float(msn_loss(apart, targets, 1.0)) == pytest.approx(math.log(4 / 3), rel=1e-9)
    equal = torch.tensor([[first, first]], dtype=torch.float64).log()
    entropy = 0.75 * math.log(4 / 3) + 0.25 * math.log(4)
    wanted = math.log(4 / 3) + math.log(2) - entropy
    assert float(msn_loss(equal, targets[[0, 0]], 1.0)) == pytest.approx(wanted, rel=1e-9)


def test_equal_predictions_cost_the_chance_loss():
    chance, formula = _method().chance_loss(4)
    uniform = torch.full((2, 4, 10), 0.1, dtype=torch.float64).log()
    assert formula == "ln K"
    assert float(msn_loss(uniform, torch.softmax(_random(4, 10), dim=1), 1.0)) == pytest.approx(chance, rel=1e-6)


def test_predictions_do_not_depend_on_length_or_on_a_rotation_of_everything():
    z, prototypes, rotation = _random(4, 5), _random(7, 5, seed=1), torch.linalg.qr(_random(5, 5, seed=3)).Q
    turned = log_predictions(3 * z @ rotation, 2 * prototypes @ rotation, 0.1)
    torch.testing.assert_close(turned, log_predictions(z, prototypes, 0.1))


def test_msn_equals_lightlys():
    lightly = pytest.importorskip("lightly.loss.msn_loss")
    anchors, target, prototypes = _random(3, 8, 5), _random(8, 5, seed=1), _random(7, 5, seed=2)
    theirs = lightly.MSNLoss(temperature=0.1)(anchors.flatten(0, 1), target, prototypes, 0.25)
    targets = sinkhorn(log_predictions(target, prototypes, 0.025), 1.0, 3)
    ours = msn_loss(log_predictions(anchors, prototypes, 0.1), targets, 1.0)
    assert float(ours) == pytest.approx(float(theirs), rel=1e-6)


def test_the_loss_stays_in_float32_for_half_precision():
    z = torch.randn(2, 4, 5).to(torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        predicted = log_predictions(z, torch.randn(6, 5), 0.1)
        assert predicted.dtype == msn_loss(predicted, predicted[0].exp(), 1.0).dtype == torch.float32


def _method(**options):
    torch.manual_seed(0)
    return MSN(vit(), MSN.Config(**{**SMALL, "mask_ratio": 0.5, "momentum": 0.9, **options}))


def _views(masked=1, small=2):
    sizes = [(16, 24)] * (masked + 1) + [(8, 12)] * small
    draws = torch.rand(4, 2 * masked, generator=torch.Generator().manual_seed(9))
    return [*(_random(4, 3, *size, seed=n, dtype=torch.float32) for n, size in enumerate(sizes)), draws]


def _wanted(method, views, masked=1):
    """The loss from its parts: masked anchors, small anchors, and the teacher's sharpened targets."""
    *images, draws = views
    keep = torch.cat([random_order(patch_draws(pair, 24))[:, :12] for pair in draws.split(2, dim=1)])
    embeddings = [method.encoder.embed_and_tokens(torch.cat(images[:masked]), keep=keep)[0]]
    embeddings += [method.encoder(torch.cat(images[masked + 1 :]))] if images[masked + 1 :] else []
    anchors = method.projector(torch.cat(embeddings)).unflatten(0, (-1, 4))
    target = log_predictions(method.teacher(images[masked]), method.prototypes, 0.025).detach()
    targets = sinkhorn(target, 1.0, 3)
    return msn_loss(log_predictions(anchors, method.prototypes, 0.1), targets, 1.0), embeddings[0][:4]


@pytest.mark.parametrize(("masked", "small"), [(1, 2), (2, 0)])
def test_masked_and_small_anchors_predict_the_teachers_view_of_the_whole(masked, small):
    method, views = _method(), _views(masked, small)
    with torch.no_grad():
        method.teacher.head[-1].weight.add_(_random(8, 16, dtype=torch.float32))  # no longer the student
    again = copy.deepcopy(method)
    output = method(views, NOW)
    loss, embedding = _wanted(again, views, masked)
    torch.testing.assert_close(output.loss, loss)
    torch.testing.assert_close(output.embedding, embedding.detach())


def test_anchors_alone_move_the_prototypes():
    method, views = _method(), _views()
    again = copy.deepcopy(method)
    method(views, NOW).loss.backward()
    _wanted(again, views)[0].backward()
    torch.testing.assert_close(method.prototypes.grad, again.prototypes.grad)
    assert all(parameter.grad is None for parameter in method.teacher.parameters())


def test_an_anchor_does_not_see_its_dropped_patches_and_the_target_sees_all():
    method, views = _method().eval(), _views(small=0)
    dropped = random_order(patch_draws(views[-1], 24))[:, 12:]
    image, where = 0, divmod(int(dropped[0, 0]), 6)
    corner = (slice(4 * where[0], 4 * where[0] + 4), slice(4 * where[1], 4 * where[1] + 4))
    before = method(views, NOW)
    for view, seen in ((0, False), (1, True)):
        changed = [tensor.clone() for tensor in views]
        changed[view][image, :, corner[0], corner[1]] += 1
        assert (method(changed, NOW).loss != before.loss) == seen


def test_every_image_drops_patches_of_its_own():
    kept = random_order(patch_draws(_views()[-1], 24))[:, :12].sort(dim=1).values
    assert len({tuple(row) for row in kept.tolist()}) == 4


def test_the_mean_of_the_anchors_is_kept_from_a_single_prototype():
    """Anchors that agree with their targets on prototype 0 have no other gradient than that of the mean entropy."""
    scores = torch.tensor([2.0, 0.0, 0.0], dtype=torch.float64).expand(1, 4, 3).clone().requires_grad_(True)
    for weight in (0.0, 1.0):
        loss = msn_loss(scores.log_softmax(dim=2), scores[0].detach().softmax(dim=1), weight)
        (gradient,) = torch.autograd.grad(loss, scores)
        assert (float(gradient[..., 0].max()) > 1e-3) == (weight > 0)
        assert (float(gradient[..., 1:].min()) < -1e-3) == (weight > 0)


def test_the_teachers_momentum_rises_to_one_in_a_straight_line():
    for step, kept in ((0, 0.9), (5, 0.95), (10, 1.0)):
        method = _method()
        with torch.no_grad():
            method.projector[0].weight.add_(1.0)
        before = method.teacher.head[0].weight.clone()
        method.after_step(Progress(step, 10))
        torch.testing.assert_close(method.teacher.head[0].weight, before + 1 - kept)


def test_the_teacher_is_what_users_take_away():
    method = _method()
    which, encoder = method.representation()
    assert which == "teacher" and encoder is method.teacher.encoder


def test_prototypes_have_one_length_to_begin_with():
    torch.testing.assert_close(_method().prototypes.detach(), normalize(_method().prototypes.detach(), dim=1))


def test_small_images_have_two_masked_anchors_and_others_one_and_six_small():
    large, draws = MSN.default_views((32, 32))
    assert (large.count, large.blur, draws.count) == (3, 0.0, 4)
    large, small, draws = MSN.default_views((224, 224))
    assert (large.count, small.count, small.size, draws.count) == (2, 6, (112, 112), 2)
