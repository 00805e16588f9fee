"""MAE: its loss as a slow loop, what the encoder sees, what the decoder is asked, and the pictures."""

import pytest
import torch
from torch import Tensor

from selfstudy.methods.mae import MaskedAutoencoder, mae_loss, patch_statistics
from selfstudy.ops.patches import patchify
from selfstudy.ops.schedules import Progress
from tests.methods.small_encoders import vit

SMALL = {"decoder_dim": 32, "decoder_depth": 1}
NOW = Progress(0, 10)


def _random(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def slow_mae(predicted: Tensor, patches: Tensor) -> float:
    """Patch by patch: squared errors against pixels of zero mean and unit (unbiased) variance."""
    losses = []
    for guess, patch in zip(predicted.flatten(0, 1), patches.flatten(0, 1), strict=True):
        mean = sum(patch.tolist()) / len(patch)
        variance = sum((pixel - mean) ** 2 for pixel in patch.tolist()) / (len(patch) - 1)
        for g, pixel in zip(guess.tolist(), patch.tolist(), strict=True):
            losses.append((g - (pixel - mean) / (variance + 1e-6) ** 0.5) ** 2)
    return sum(losses) / len(losses)


def test_the_loss_is_the_papers_on_normalised_patches():
    predicted, patches = _random(3, 4, 12), 5 + 2 * _random(3, 4, 12, seed=1)
    assert float(mae_loss(predicted, patches)) == pytest.approx(slow_mae(predicted, patches), rel=1e-9)


def test_the_loss_by_hand():
    """Pixels 1 and 3 have mean 2 and unbiased variance 2: normalised, they are -1/sqrt(2) and 1/sqrt(2)."""
    patches = torch.tensor([[[1.0, 3.0]]], dtype=torch.float64)
    assert float(mae_loss(torch.zeros(1, 1, 2), patches)) == pytest.approx(0.5, rel=1e-5)
    assert float(mae_loss(torch.ones(1, 1, 2), patches, normalise=False)) == 2.0


def test_the_loss_does_not_see_brightness_and_contrast_of_a_patch():
    predicted, patches = _random(3, 4, 12), _random(3, 4, 12, seed=1)
    scale, shift = 1 + _random(3, 4, 1, seed=2).abs(), _random(3, 4, 1, seed=3)
    assert float(mae_loss(predicted, scale * patches + shift)) == pytest.approx(
        float(mae_loss(predicted, patches)), rel=1e-5
    )
    assert float(mae_loss(predicted, 2 * patches, False)) != pytest.approx(float(mae_loss(predicted, patches, False)))


def test_the_loss_stays_in_float32_for_half_precision():
    with torch.autocast("cpu", torch.bfloat16):
        assert mae_loss(torch.randn(2, 3, 8).bfloat16(), torch.randn(2, 3, 8)).dtype == torch.float32


def test_the_loss_equals_one_made_of_lightlys_parts():
    utils = pytest.importorskip("lightly.models.utils")
    images, predicted = _random(2, 3, 16, 16), _random(2, 16, 48)
    patches = utils.patchify(images, 4)
    theirs = torch.nn.functional.mse_loss(predicted, utils.normalize_mean_var(patches))
    assert torch.equal(patchify(images, (4, 4)), patches)
    assert float(mae_loss(predicted, patchify(images, (4, 4)))) == pytest.approx(float(theirs), rel=1e-9)


def _method(**options):
    torch.manual_seed(0)
    return MaskedAutoencoder(vit(), MaskedAutoencoder.Config(**(SMALL | options)))


def _views():
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(4, 3, 16, 24, generator=generator), torch.rand(4, 2, generator=generator)]


def _hidden(method, views):
    return method._predict(*views)[2]


def _change(images, patches, which):
    """The images with some patches replaced by noise."""
    mask = torch.zeros(len(images), 24, dtype=torch.bool).scatter(1, which, True)
    pixels = mask.view(-1, 4, 6).repeat_interleave(4, 1).repeat_interleave(4, 2)[:, None]
    return torch.where(pixels, patches, images)


def test_three_quarters_of_the_patches_are_hidden_and_images_have_masks_of_their_own():
    hidden = _hidden(_method(), _views())
    assert hidden.shape == (4, 18)
    assert len(hidden.sort(dim=1).values.unique(dim=0)) == 4
    assert _hidden(_method(mask_ratio=0.5), _views()).shape == (4, 12)


def test_nothing_of_a_hidden_patch_reaches_embedding_or_prediction():
    method, (images, draws) = _method().eval(), _views()
    embedding, predicted, hidden = method._predict(images, draws)
    changed = _change(images, torch.randn_like(images), hidden)
    again = method._predict(changed, draws)
    torch.testing.assert_close(again[0], embedding)
    torch.testing.assert_close(again[1], predicted)
    everywhere = method._predict(torch.randn_like(images), draws)
    assert (everywhere[1] - predicted).abs().max() > 1e-3


def test_the_loss_is_of_the_hidden_patches_alone():
    method, views = _method(), _views()
    _, predicted, hidden = method._predict(*views)
    patches = patchify(views[0], (4, 4))
    wanted = torch.stack([patches[i, hidden[i]] for i in range(4)])
    output = method(views, NOW)
    assert float(output.loss.detach()) == pytest.approx(slow_mae(predicted.detach(), wanted), rel=1e-5)
    assert output.embedding.shape == (4, 24)


def test_the_chance_loss_is_that_of_predicting_each_patchs_mean():
    method, patches = _method(), _random(4, 18, 48)
    chance, formula = method.chance_loss(4)
    assert formula.startswith("1 - 1 / P")
    assert chance == pytest.approx(float(mae_loss(torch.zeros_like(patches), patches)), rel=1e-5)
    assert _method(norm_pixels=False).chance_loss(4) is None


@pytest.mark.parametrize("norm_pixels", [True, False])
def test_the_pictures_keep_visible_patches_and_show_predictions_in_the_others(norm_pixels):
    method, views = _method(norm_pixels=norm_pixels).eval(), _views()
    with torch.no_grad():
        pictures = method.pictures(views)
        _, predicted, hidden = method._predict(*views)
    patches = patchify(views[0], (4, 4))
    blank, rebuilt = (patchify(pictures[name], (4, 4)) for name in ("masked", "reconstruction"))
    for i in range(4):
        visible = [n for n in range(24) if n not in hidden[i].tolist()]
        assert torch.equal(blank[i, visible], patches[i, visible])
        assert torch.equal(rebuilt[i, visible], patches[i, visible])
        assert not blank[i, hidden[i]].any()
        mean, deviation = (value[0] for value in patch_statistics(patches[i : i + 1, hidden[i]]))
        wanted = predicted[i] * deviation + mean if norm_pixels else predicted[i]
        torch.testing.assert_close(rebuilt[i, hidden[i]], wanted)


def test_short_runs_get_a_small_decoder_and_long_ones_the_papers():
    from selfstudy.methods.base import DataFacts

    short, long = (MaskedAutoencoder.recipe(DataFacts(50_000, (32, 32), 3, 256, steps)) for steps in (300, 100_000))
    assert short.method["decoder_dim"] == 64 and not long.method
    assert long.optimizer["lr"] == pytest.approx(1.5e-4)
    assert MaskedAutoencoder.Config().decoder_dim == 512
