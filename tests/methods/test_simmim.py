"""SimMIM: its loss as a slow loop, what the encoder sees, and the pictures."""

import pytest
import torch
from torch import Tensor

from selfstudy.methods.simmim import SimMIM, simmim_loss
from selfstudy.ops.patches import patchify
from selfstudy.ops.schedules import Progress
from tests.methods.small_encoders import vit

SMALL = {}
NOW = Progress(0, 10)


def _random(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def slow_simmim(predicted: Tensor, patches: Tensor, mask: Tensor) -> float:
    """The l1 norm over hidden pixels, divided by their number."""
    total, count = 0.0, 0
    for i, n in mask.nonzero().tolist():
        for guess, pixel in zip(predicted[i, n].tolist(), patches[i, n].tolist(), strict=True):
            total, count = total + abs(guess - pixel), count + 1
    return total / count


def test_the_loss_is_the_papers_equation():
    predicted, patches, mask = _random(3, 6, 8), _random(3, 6, 8, seed=1), _random(3, 6, seed=2) > 0
    assert float(simmim_loss(predicted, patches, mask)) == pytest.approx(
        slow_simmim(predicted, patches, mask), rel=1e-9
    )


def test_the_loss_by_hand():
    """The second of two patches is hidden, and the errors of its two pixels are 1 and 2."""
    predicted, patches = torch.tensor([[[9.0, 9.0], [1.0, 0.0]]]), torch.tensor([[[0.0, 0.0], [0.0, 2.0]]])
    assert float(simmim_loss(predicted, patches, torch.tensor([[False, True]]))) == 1.5


def test_the_loss_does_not_see_visible_patches_and_scales_with_the_pixels():
    predicted, patches, mask = _random(3, 6, 8), _random(3, 6, 8, seed=1), _random(3, 6, seed=2) > 0
    value = float(simmim_loss(predicted, patches, mask))
    other = torch.where(mask[:, :, None], predicted, 7.0)
    assert float(simmim_loss(other, patches, mask)) == pytest.approx(value, rel=1e-12)
    assert float(simmim_loss(3 * predicted, 3 * patches, mask)) == pytest.approx(3 * value, rel=1e-12)


def test_the_loss_stays_in_float32_for_half_precision():
    with torch.autocast("cpu", torch.bfloat16):
        loss = simmim_loss(torch.randn(2, 3, 8).bfloat16(), torch.randn(2, 3, 8), torch.ones(2, 3, dtype=torch.bool))
        assert loss.dtype == torch.float32


def _method(**options):
    torch.manual_seed(0)
    return SimMIM(vit(), SimMIM.Config(**options))


def _views():
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(4, 3, 16, 24, generator=generator), torch.rand(4, 2, generator=generator)]


def _pixels(mask):
    """The mask of patches (B, N) as one of pixels (B, 1, H, W)."""
    return mask.view(-1, 4, 6).repeat_interleave(4, 1).repeat_interleave(4, 2)[:, None]


def test_squares_of_two_by_two_patches_are_hidden_six_tenths_of_them_rounded_up():
    mask = _method()._predict(*_views())[2].view(4, 2, 2, 3, 2)
    squares = mask.transpose(2, 3).flatten(3)
    assert torch.equal(squares.any(3), squares.all(3))
    assert (squares[..., 0].flatten(1).sum(1) == 4).all()


def test_hidden_pixels_reach_nothing_and_visible_ones_do():
    method, (images, draws) = _method().eval(), _views()
    embedding, predicted, mask = method._predict(images, draws)
    noise = torch.randn_like(images)
    again = method._predict(torch.where(_pixels(mask), noise, images), draws)
    torch.testing.assert_close(again[0], embedding)
    torch.testing.assert_close(again[1], predicted)
    other = method._predict(torch.where(_pixels(mask), images, noise), draws)
    assert (other[1] - predicted).abs().max() > 1e-3


def test_the_mask_token_stands_where_patches_are_hidden():
    method, views = _method(), _views()
    mask = method._predict(*views)[2]
    before = method._predict(*views)[1]
    with torch.no_grad():
        method.mask_token.copy_(torch.linspace(-1, 1, 24))
    assert ((method._predict(*views)[1] - before).abs().amax(2) > 1e-3)[mask].all()


def test_the_forward_pass_compares_the_hidden_patches_with_their_pixels():
    method, views = _method(), _views()
    _, predicted, mask = method._predict(*views)
    output = method(views, NOW)
    wanted = slow_simmim(predicted.detach(), patchify(views[0], (4, 4)), mask)
    assert float(output.loss.detach()) == pytest.approx(wanted, rel=1e-5)
    assert output.embedding.shape == (4, 24) and method.chance_loss(4) is None


def test_the_pictures_keep_visible_patches_and_show_predictions_in_the_others():
    method, views = _method().eval(), _views()
    with torch.no_grad():
        pictures = method.pictures(views)
        _, predicted, mask = method._predict(*views)
    hidden = _pixels(mask)
    assert torch.equal(pictures["masked"], views[0].masked_fill(hidden, 0.0))
    assert torch.equal(pictures["reconstruction"].masked_fill(hidden, 0.0), pictures["masked"])
    torch.testing.assert_close(patchify(pictures["reconstruction"], (4, 4))[mask], predicted[mask])


def test_long_runs_get_the_authors_learning_rate():
    from selfstudy.methods.base import DataFacts

    recipe = SimMIM.recipe(DataFacts(1_300_000, (224, 224), 3, 2048, 500_000))
    assert recipe.optimizer["lr"] == pytest.approx(4e-4)
