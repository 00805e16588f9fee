import pytest
import timm
import torch

from selfstudy.encoders.base import Encoder, TokenEncoder
from selfstudy.encoders.timm import EncoderSpec, build_encoder, decided, spec_of
from selfstudy.errors import EnvironmentFault, UsageError


@pytest.mark.parametrize(
    "name", ["resnet10t", "resnet18", "convnext_atto", "vit_tiny_patch16_224", "lcnet_050", "mobilenetv3_small_050"]
)
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_an_encoder_gives_one_vector_per_image(name, channels):
    encoder = build_encoder(EncoderSpec(name, (32, 48), channels)).eval()
    result = encoder(torch.randn(2, channels, 32, 48))
    assert isinstance(encoder, Encoder) and result.shape == (2, encoder.embed_dim)


@pytest.mark.parametrize(
    ("spec", "stem", "reason"),
    [
        (EncoderSpec("resnet18", (32, 32)), "stock", "ahead in a short run"),
        (EncoderSpec("resnet18", (32, 32), long_run=True), "small", "which a long run repays"),
        (EncoderSpec("resnet18", (64, 48), long_run=True), "small", "keeps resolution at 64 px"),
        (EncoderSpec("resnet18", (48, 65), long_run=True), "stock", "made for images like these (65 px)"),
        (EncoderSpec("resnet18", (224, 224), long_run=True), "stock", "made for images like these"),
        (EncoderSpec("resnet18", (224, 224), stem="small"), "small", "given"),
        (EncoderSpec("resnet18", (32, 32), stem="no_pool"), "no_pool", "given"),
    ],
)
def test_the_stem_follows_image_size_and_budget_with_a_reason(spec, stem, reason):
    encoder = build_encoder(spec)
    assert encoder.description["stem"] == stem and reason in decided(spec)[1]
    rows = encoder.network.forward_features(torch.randn(1, 3, 64, 64)).shape[-1]
    assert rows == {"stock": 2, "no_pool": 4, "small": 8}[stem]


@pytest.mark.parametrize(
    ("size", "asked", "patch"),
    [((32, 32), "auto", 4), ((28, 28), "auto", 2), ((224, 224), "auto", 16), ((32, 48), 8, 8)],
)
def test_the_patch_size_follows_the_image_size(size, asked, patch):
    encoder = build_encoder(EncoderSpec("vit_tiny_patch16_224", size, patch_size=asked))
    assert encoder.description["patch_size"] == patch
    assert encoder.num_tokens == size[0] // patch * (size[1] // patch)


def test_a_patch_size_that_does_not_divide_names_those_that_do():
    with pytest.raises(UsageError, match=r"patch size 5 does not divide images of 32x48 px\nallowed: \[2, 4, 8, 16\]"):
        build_encoder(EncoderSpec("vit_tiny_patch16_224", (32, 48), patch_size=5))


def test_a_vision_transformer_takes_the_small_views_of_multi_crop():
    encoder = build_encoder(EncoderSpec("vit_tiny_patch16_224", (32, 32))).eval()
    assert encoder(torch.randn(2, 3, 16, 16)).shape == (2, 192)


def test_tokens_are_those_of_the_kept_patches():
    encoder = build_encoder(EncoderSpec("vit_tiny_patch16_224", (32, 32))).eval()
    images = torch.randn(2, 3, 32, 32)
    everything = torch.arange(64).expand(2, -1)
    assert isinstance(encoder, TokenEncoder)
    torch.testing.assert_close(encoder.tokens(images, everything), encoder.tokens(images))
    order = everything.flip(1)
    torch.testing.assert_close(encoder.tokens(images, order), encoder.tokens(images).flip(1), atol=1e-4, rtol=1e-4)
    assert encoder.tokens(images, everything[:, :10]).shape == (2, 10, 192)


def test_kept_patches_do_not_see_the_others():
    encoder = build_encoder(EncoderSpec("vit_tiny_patch16_224", (32, 32))).eval()
    images, keep = torch.randn(1, 3, 32, 32), torch.arange(32)[None]  # the upper half
    changed = images.clone()
    changed[:, :, 16:] += 1
    torch.testing.assert_close(encoder.tokens(images, keep), encoder.tokens(changed, keep))


def test_the_outputs_of_blocks_come_with_the_embedding_and_end_in_the_tokens():
    encoder = build_encoder(EncoderSpec("test_vit", (32, 32), channels=2, patch_size=8)).eval()
    images = torch.randn(2, 2, 32, 32)
    embedding, blocks = encoder.embed_and_blocks(images, 3)
    wanted, tokens = encoder.embed_and_tokens(images)
    assert len(blocks) == 3 and encoder.channels == 2
    torch.testing.assert_close(embedding, wanted)
    torch.testing.assert_close(encoder.network.norm(blocks[-1]), tokens)
    assert not torch.allclose(blocks[0], blocks[1])
    assert len(encoder.embed_and_blocks(images, 100)[1]) == len(encoder.network.blocks)


@pytest.mark.parametrize("name", ["resnet19", "hf-hub:someone/model", "../resnet18", "RESNET18"])
def test_names_outside_timms_registry_are_refused(name):
    with pytest.raises(UsageError, match="unknown encoder"):
        build_encoder(EncoderSpec(name, (32, 32)))


def test_the_nearest_name_is_suggested():
    with pytest.raises(UsageError, match=r"did you mean 'resnet1"):
        build_encoder(EncoderSpec("resnet19", (32, 32)))


def test_a_small_stem_is_for_resnets():
    with pytest.raises(UsageError, match="--stem small is for ResNets; convnext_atto has another stem"):
        build_encoder(EncoderSpec("convnext_atto", (32, 32), stem="small"))


@pytest.mark.parametrize("name", ["resnetv2_50", "resnet50_clip", "resnext26ts"])
def test_a_name_does_not_make_a_resnet(name):
    assert build_encoder(EncoderSpec(name, (32, 32), long_run=True)).description["stem"] == "stock"
    with pytest.raises(UsageError, match=f"--stem no_pool is for ResNets; {name} has another stem"):
        build_encoder(EncoderSpec(name, (32, 32), stem="no_pool"))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (EncoderSpec("test_vit", (32, 32), stem="small"), "--stem small is for ResNets; test_vit has another stem"),
        (
            EncoderSpec("resnet10t", (32, 32), patch_size=4),
            "encoder.patch_size=4 is for vision transformers; resnet10t",
        ),
        (EncoderSpec("resnet10t", (32, 32), pool="avg"), "encoder.pool=avg is for vision transformers; resnet10t"),
        (EncoderSpec("deit_tiny_distilled_patch16_224", (32, 32), pool="avg"), "cannot pool by 'avg'\nuse another"),
    ],
)
def test_settings_that_a_network_has_no_use_for_are_refused(spec, message):
    with pytest.raises(UsageError, match=message):
        build_encoder(spec)


def test_weights_that_cannot_be_fetched_are_one_line(monkeypatch):
    def refuse(*_args, **_kwargs):
        raise OSError("no route to host\nmore")

    monkeypatch.setattr(timm, "create_model", refuse)
    with pytest.raises(EnvironmentFault, match=r"weights for resnet18 could not be fetched: no route to host\n"):
        build_encoder(EncoderSpec("resnet18", (32, 32), pretrained=True))


def test_a_description_rebuilds_the_same_network():
    first = build_encoder(EncoderSpec("vit_tiny_patch16_224", (32, 48), 2))
    second = build_encoder(spec_of(first.description))
    shapes = [{name: tensor.shape for name, tensor in e.state_dict().items()} for e in (first, second)]
    assert shapes[0] == shapes[1] and first.description == second.description


def test_images_too_small_for_the_network_are_refused():
    with pytest.raises(UsageError, match="test_convnext cannot take images of 16x16 px\nuse a larger --image-size"):
        build_encoder(EncoderSpec("test_convnext", (16, 16)))


def test_stochastic_depth_grows_over_the_blocks_and_stays_out_of_the_description():
    encoder = build_encoder(EncoderSpec("vit_tiny_patch16_224", (32, 32), drop_path=0.22))
    rates = [getattr(block.drop_path1, "drop_prob", 0.0) for block in encoder.network.blocks]
    assert rates == pytest.approx([0.02 * number for number in range(12)])
    assert encoder.description == build_encoder(EncoderSpec("vit_tiny_patch16_224", (32, 32))).description


def test_a_network_without_stochastic_depth_is_refused():
    with pytest.raises(UsageError, match="vgg11 has no stochastic depth\nleave encoder.drop_path out"):
        build_encoder(EncoderSpec("vgg11", (64, 64), drop_path=0.1))
