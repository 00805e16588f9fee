"""data2vec: its targets and loss as slow loops, what student and teacher see, and when the teacher moves."""

import copy

import pytest
import torch
from torch import Tensor

from selfstudy.methods.data2vec import Data2Vec, block_targets, data2vec_loss
from selfstudy.ops.schedules import Progress
from tests.methods.small_encoders import vit

SMALL = {"target_blocks": 2, "momentum": 0.9}
NOW = Progress(0, 10)


def _random(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def _normalised(x: list[float]) -> list[float]:
    mean = sum(x) / len(x)
    deviation = (sum((value - mean) ** 2 for value in x) / len(x) + 1e-5) ** 0.5
    return [(value - mean) / deviation for value in x]


def slow_targets(blocks: Tensor) -> Tensor:
    """Patch by patch: normalise each block's output, average, normalise again."""
    result = torch.empty_like(blocks[0])
    for b in range(blocks.shape[1]):
        for n in range(blocks.shape[2]):
            layers = [_normalised(block[b, n].tolist()) for block in blocks]
            result[b, n] = torch.tensor(
                _normalised([sum(column) / len(layers) for column in zip(*layers, strict=True)])
            )
    return result


def slow_data2vec(predicted: Tensor, targets: Tensor, mask: Tensor, beta: float) -> float:
    """Section 3.4's two branches, feature by feature, over hidden patches."""
    losses = []
    for i, n in mask.nonzero().tolist():
        for guess, target in zip(predicted[i, n].tolist(), targets[i, n].tolist(), strict=True):
            error = abs(guess - target)
            losses.append(error**2 / (2 * beta) if error <= beta else error - beta / 2)
    return sum(losses) / len(losses)


def test_targets_are_the_normalised_mean_of_normalised_blocks():
    blocks = 3 * _random(3, 2, 4, 5) + 1
    torch.testing.assert_close(block_targets(blocks), slow_targets(blocks), rtol=1e-6, atol=1e-6)


def test_targets_do_not_see_how_large_a_blocks_outputs_are():
    blocks = 10 * _random(3, 2, 4, 8)
    scaled = blocks * torch.tensor([1.0, 50.0, 7.0]).view(3, 1, 1, 1) + 4
    torch.testing.assert_close(block_targets(scaled), block_targets(blocks), rtol=1e-3, atol=1e-4)
    assert block_targets(blocks).mean(2).abs().max() < 1e-6


@pytest.mark.parametrize("beta", [0.3, 2.0])
def test_the_loss_is_the_papers_equation(beta):
    predicted, targets, mask = _random(3, 6, 8), _random(3, 6, 8, seed=1), _random(3, 6, seed=2) > 0
    assert float(data2vec_loss(predicted, targets, mask, beta)) == pytest.approx(
        slow_data2vec(predicted, targets, mask, beta), rel=1e-9
    )


def test_the_loss_by_hand():
    """Errors of 1 and 4 with beta 2 cost 1 / 4 and 4 - 1; the visible patch costs nothing."""
    predicted = torch.tensor([[[1.0, 4.0], [9.0, 9.0]]])
    loss = data2vec_loss(predicted, torch.zeros(1, 2, 2), torch.tensor([[True, False]]), 2.0)
    assert float(loss) == pytest.approx((0.25 + 3) / 2)


def test_loss_and_targets_stay_in_float32_for_half_precision():
    half = torch.randn(2, 3, 4, 8).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        targets = block_targets(half)
        loss = data2vec_loss(half[0], targets, torch.ones(3, 4, dtype=torch.bool), 2.0)
    assert targets.dtype == loss.dtype == torch.float32


def _method(**options):
    torch.manual_seed(0)
    return Data2Vec(vit(), Data2Vec.Config(**(SMALL | options)))


def _views():
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(4, 3, 16, 24, generator=generator), torch.rand(4, 2, generator=generator)]


def _moved(method):
    """The method after its student has left its teacher behind."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in method.encoder.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return method


def test_the_teacher_sees_the_whole_image_and_the_student_the_masked_one():
    method, views, calls = _moved(_method()), _views(), []
    original = method.encoder.embed_and_tokens

    def spy(*args, **kwargs):
        calls.append((args, kwargs))
        return original(*args, **kwargs)

    method.encoder.embed_and_tokens = spy
    output = method(views, NOW)
    (((images,), given),) = calls
    mask = given["mask"]
    assert torch.equal(images, views[0]) and given["mask_token"] is method.mask_token
    assert torch.equal(mask, method._mask(views[1]))
    _, blocks = copy.deepcopy(method.teacher).encoder.embed_and_blocks(views[0], 2)
    targets = block_targets(torch.stack(blocks).detach())
    predicted = method.head(original(views[0], mask=mask, mask_token=method.mask_token)[1]).detach()
    assert float(output.loss.detach()) == pytest.approx(slow_data2vec(predicted, targets, mask, 2.0), rel=1e-5)


def test_the_same_number_is_hidden_in_every_image_and_it_is_rectangles_filled_up():
    method = _method()
    draws = torch.rand(200, 2, generator=torch.Generator().manual_seed(1))
    mask = method._mask(draws)
    assert (mask.sum(dim=1) == 24 - int(24 * 0.4)).all() and len(mask.unique(dim=0)) > 150
    sides = mask.view(-1, 4, 6)
    neighbours = (sides[:, :, 1:] == sides[:, :, :-1]).float().mean()
    assert neighbours > 0.65  # of patches hidden one by one, half are like their neighbour
    assert torch.equal(method._mask(draws[150:]), mask[150:])


def test_the_number_of_blocks_changes_the_targets():
    one, two = (_method(target_blocks=count)._teach(_views()[0])[1] for count in (1, 2))
    assert not torch.allclose(one, two)


def test_no_gradient_flows_through_the_targets():
    method = _method()
    method(_views(), NOW).loss.backward()
    assert all(p.grad is None and not p.requires_grad for p in method.teacher.parameters())
    assert method.encoder.network.patch_embed.proj.weight.grad.abs().sum() > 0


def test_the_teacher_follows_the_student_after_the_step():
    method = _moved(_method())
    before = [p.clone() for p in method.teacher.parameters()]
    method.after_step(NOW)
    for old, new, goal in zip(before, method.teacher.parameters(), method.encoder.parameters(), strict=True):
        torch.testing.assert_close(new, 0.9 * old + 0.1 * goal)


def test_the_teacher_stays_in_eval_mode():
    method = _method().train()
    assert method.encoder.training and not method.teacher.encoder.training


def test_monitors_see_the_teachers_embedding_of_the_whole_image_and_users_get_the_student():
    method, views = _moved(_method()), _views()
    torch.testing.assert_close(method(views, NOW).embedding, method.teacher(views[0]))
    which, encoder = method.representation()
    assert which == "student" and encoder is method.encoder


def test_the_deviation_of_targets_is_nought_when_all_patches_get_one():
    method, views = _method(), _views()
    assert float(method(views, NOW).metrics["target_deviation"]) > 0.1
    method._teach = lambda images: (torch.zeros(4, 24), torch.ones(4, 24, 24))
    assert float(method(views, NOW).metrics["target_deviation"]) == 0


def test_momentum_follows_the_length_of_the_run():
    from selfstudy.methods.base import DataFacts

    momenta = [Data2Vec.recipe(DataFacts(50_000, (32, 32), 3, 256, n)).method["momentum"] for n in (300, 500_000)]
    assert momenta == [0.96, 0.9998]
