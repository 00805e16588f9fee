"""Image encoders by timm name, with stem, patch size and input channels fitted to the images."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import Any, Literal

import timm
import torch
from timm.optim import param_groups_layer_decay
from torch import Tensor, nn

from selfstudy.encoders.base import Encoder, TokenEncoder
from selfstudy.encoders.packages import from_packages, network_of, require_savable
from selfstudy.errors import EnvironmentFault, UsageError, did_you_mean, first_line

_SMALL_SIDE = 64  # pixels up to which a stem or patch made for 224 px loses too much
_TOKENS_PER_SIDE = 8  # patches per side wanted of a small image, 64 tokens in all


@dataclass(frozen=True)
class EncoderSpec:
    """The settings that decide an encoder.

    Attributes:
        name: a name in ``timm.list_models()``, or that of an encoder of another package.
        image_size: the (height, width) of images in pixels.
        channels: the number of channels of images.
        stem: ``stock`` or ``auto``. For ResNets also ``no_pool`` (no max-pool: twice the resolution) or ``small`` (in
            addition a first convolution of stride 1: four times the resolution).
        patch_size: the side of a vision transformer's patches in pixels, or ``auto``.
        pool: the way in which a vision transformer makes one vector of its tokens: ``token``, ``avg``, or ``auto`` for
            its own way.
        pretrained: True to start from timm's weights, which timm downloads.
        long_run: True if training is long enough for the slower small stem to pay.
        drop_path: the probability in [0, 1) of skipping the last block in training. That of the others grows from 0 in
            equal steps.
        settings: the settings of an encoder that has some of its own, such as ``patches``; None for all others.
    """

    name: str
    image_size: tuple[int, int]
    channels: int = 3
    stem: str = "auto"
    patch_size: int | Literal["auto"] | None = "auto"
    pool: str | None = "auto"
    pretrained: bool = False
    long_run: bool = False
    drop_path: float = 0.0
    settings: Mapping[str, Any] | None = None


class TimmEncoder(Encoder):
    """A timm network without its classifier: from (B, C, H, W) to (B, D), with the network's own pooling."""

    def __init__(self, network: nn.Module, description: dict[str, Any]) -> None:
        super().__init__()
        self.network = network
        # Where timm keeps a layer between pooling and classifier, its width is that of the output.
        width = getattr(network, "head_hidden_size", None) or network.num_features
        self.embed_dim = int(width)  # type: ignore[arg-type]  # an int in every network of timm
        self.description = description

    @property
    def name(self) -> str:
        """The name of the network in timm."""
        return str(self.description["name"])

    def forward(self, x: Tensor) -> Tensor:
        """Return the embeddings (B, D) of normalised images (B, C, H, W)."""
        embeddings: Tensor = self.network(x)
        return embeddings

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compile the network, with the arguments of ``torch.compile``."""
        self.network.compile(*args, **kwargs)

    def layer_rates(self, decay: float) -> dict[nn.Parameter, float]:
        """See :class:`selfstudy.encoders.base.Encoder`; timm knows the layers."""
        groups = param_groups_layer_decay(self.network, layer_decay=decay)
        return {parameter: decay * group["lr_scale"] for group in groups for parameter in group["params"]}


class TimmTokenEncoder(TimmEncoder, TokenEncoder):
    """A timm vision transformer, which also gives one vector for each patch."""

    def __init__(self, network: nn.Module, description: dict[str, Any]) -> None:
        super().__init__(network, description)
        patches: Any = network.patch_embed
        self.channels = int(patches.proj.in_channels)
        self.num_tokens = int(patches.num_patches)
        self.grid: tuple[int, int] = tuple(patches.grid_size)
        self.patch_size: tuple[int, int] = tuple(patches.patch_size)

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compile each block, with the arguments of ``torch.compile``; equal blocks are compiled once."""
        for block in self.network.blocks:  # type: ignore[union-attr]  # a Sequential
            block.compile(*args, **kwargs)

    def tokens(self, x: Tensor, keep: Tensor | None = None) -> Tensor:
        """See :class:`selfstudy.encoders.base.TokenEncoder`."""
        return self.embed_and_tokens(x, keep=keep)[1]

    def embed_and_tokens(
        self,
        x: Tensor,
        *,
        keep: Tensor | None = None,
        mask: Tensor | None = None,
        mask_token: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """See :class:`selfstudy.encoders.base.TokenEncoder`."""
        net: Any = self.network
        patches = net.patch_embed(x)  # (B, h, w, D): position embeddings are fitted to this grid
        if mask is not None and mask_token is not None:
            patches = torch.where(mask.view(*patches.shape[:-1], 1), mask_token.to(patches.dtype), patches)
        tokens = net._pos_embed(patches)  # (B, P + N, D), P prefix tokens first
        prefix = net.num_prefix_tokens
        if keep is not None:
            kept = tokens[:, prefix:].gather(1, keep[:, :, None].expand(-1, -1, tokens.shape[2]))
            tokens = torch.cat([tokens[:, :prefix], kept], dim=1)
        tokens = net.norm(net.blocks(net.norm_pre(tokens)))
        return net.forward_head(tokens, pre_logits=True), tokens[:, prefix:]

    def embed_and_blocks(self, x: Tensor, last: int) -> tuple[Tensor, list[Tensor]]:
        """See :class:`selfstudy.encoders.base.TokenEncoder`."""
        net: Any = self.network
        tokens, blocks = net.forward_intermediates(x, indices=min(last, len(net.blocks)), output_fmt="NLC")
        return net.forward_head(tokens, pre_logits=True), blocks


def decided(spec: EncoderSpec) -> tuple[EncoderSpec, str]:
    """The spec with its stem and patch size decided, and the reason for them; a network without patches has size None.

    Raises:
        UsageError: an unknown name, or a stem, patch size or pooling that the network cannot have.
    """
    require_known(spec.name)
    if is_vision_transformer(spec.name):
        patch, reason = _patch_size(spec)
        return replace(spec, stem=_stock(spec), patch_size=patch), reason
    _refuse_settings_of_transformers(spec)
    if entry := from_packages().get(spec.name):
        if spec.pretrained:
            raise UsageError(f"encoder.pretrained is for networks of timm; {entry} is none\nleave it out")
        return replace(spec, stem=_stock(spec), patch_size=None), f"the network's own, from {entry.origin}"
    if _is_resnet(spec.name):
        stem, reason = _stem(spec)
        return replace(spec, stem=stem, patch_size=None), reason
    return replace(spec, stem=_stock(spec), patch_size=None), "the network's own"


def build_encoder(spec: EncoderSpec, *, fetch: bool = True) -> TimmEncoder:
    """A fresh encoder; its ``description`` holds what rebuilds it.

    Args:
        spec: the settings of the encoder; :func:`decided` decides those that are open.
        fetch: download timm's weights if ``spec.pretrained``; not needed where a state dict is loaded next.

    Raises:
        UsageError: an unknown name, a stem, patch size or pooling the network cannot have, images too small for it.
        EnvironmentFault: pretrained weights that cannot be fetched.
    """
    spec, _ = decided(spec)
    options: dict[str, Any] = {"num_classes": 0, "in_chans": spec.channels}
    is_vit = spec.patch_size is not None
    if is_vit:
        # Small views of multi-crop have fewer patches: their position embeddings are interpolated, their edges padded.
        options |= {"img_size": tuple(spec.image_size), "patch_size": spec.patch_size}
        options |= {"dynamic_img_size": True, "dynamic_img_pad": True} | pooling_options(spec.pool)
    if spec.drop_path:
        options["drop_path_rate"] = spec.drop_path
    entry = from_packages().get(spec.name)
    network = network_of(entry, spec) if entry else _create(spec, options, fetch=spec.pretrained and fetch)
    if spec.stem != "stock":
        use_stem(network, spec.stem)
    if not isinstance(getattr(network, "num_features", None), int):
        raise UsageError(f"{spec.name} gives no single vector per image\n'selfstudy encoders' lists networks that do")
    _require_size(network, spec)
    description = {**asdict(spec), "image_size": list(spec.image_size), "pool": spec.pool if is_vit else "auto"}
    cls = TimmTokenEncoder if is_vit else TimmEncoder
    own = {"settings": dict(spec.settings)} if spec.settings else {}
    return cls(network, {key: description[key] for key in _DESCRIBES} | own)


_DESCRIBES = ("name", "image_size", "channels", "stem", "patch_size", "pool", "pretrained")


def is_vision_transformer(name: str) -> bool:
    """Return True if timm's network of this name has patches, and more than one way of pooling."""
    return bool(timm.models.is_model_in_modules(name.partition(".")[0], ["vision_transformer", "deit"]))


def pooling_options(pool: str | None) -> dict[str, Any]:
    """Return timm's arguments for a vision transformer that pools in this way after its last normalisation."""
    return {"global_pool": pool, "fc_norm": False} if pool not in ("auto", None) else {}


def creation_arguments(description: Mapping[str, Any]) -> dict[str, Any]:
    """Return timm's arguments for the network of an encoder's description, except the name; they hold no stem."""
    arguments = {"in_chans": description["channels"]}
    if description["patch_size"]:
        arguments |= {"img_size": tuple(description["image_size"]), "patch_size": description["patch_size"]}
        arguments |= pooling_options(description["pool"])
    return arguments


def spec_of(description: dict[str, Any]) -> EncoderSpec:
    """Return the spec that rebuilds an encoder from its description, as it was before the first step."""
    known = {key: description[key] for key in _DESCRIBES} | {"settings": description.get("settings")}
    height, width = known["image_size"]
    return EncoderSpec(**(known | {"image_size": (height, width), "patch_size": known["patch_size"] or "auto"}))


def use_stem(network: Any, stem: str) -> None:
    """Remove the max-pool of a timm ResNet and, for a ``small`` stem, the stride of its first convolution, in place.

    A first convolution of 7x7 keeps its size, and weights keep their names, so that the state dict fits timm's network.
    """
    network.maxpool = nn.Identity()
    if stem == "small":
        first = next(module for module in network.conv1.modules() if isinstance(module, nn.Conv2d))
        first.stride = (1, 1)


def require_known(name: str) -> None:
    """Refuse names that neither timm's registry nor another package has, such as hub prefixes and paths.

    Raises:
        UsageError: the name is unknown, with the nearest known one, or encoders of this name cannot be saved.
    """
    if entry := from_packages().get(name):
        require_savable(entry)
    elif not timm.is_model(name.partition(".")[0]) or "/" in name or ":" in name:
        models = timm.list_models()
        raise UsageError(
            f"unknown encoder {name!r}{did_you_mean(name, [*models, *from_packages()])}\n"
            f"any of timm's {len(models):,} names works; 'selfstudy encoders' lists good ones"
        )


def _require_size(network: nn.Module, spec: EncoderSpec) -> None:
    """Refuse images that shrink to nothing inside the network."""
    height, width = spec.image_size
    try:
        with torch.inference_mode():
            network.eval()(torch.zeros(1, spec.channels, height, width))
    except RuntimeError:
        raise UsageError(
            f"{spec.name} cannot take images of {height}x{width} px\n"
            "use a larger --image-size (many networks need 32 px), or a ResNet"
        ) from None
    network.train()


def _refuse_settings_of_transformers(spec: EncoderSpec) -> None:
    """Refuse settings that a network without patches would ignore."""
    for name in ("patch_size", "pool"):
        if (value := getattr(spec, name)) not in ("auto", None):
            raise UsageError(
                f"encoder.{name}={value} is for vision transformers; {spec.name} has none\nleave it out, or use one"
            )


@cache
def _is_resnet(name: str) -> bool:
    """True for timm's ResNets. Names do not tell: resnetv2_50 and resnet50_clip are none."""
    with torch.device("meta"):  # a network without memory: nothing is drawn and nothing is computed
        return isinstance(timm.create_model(name.partition(".")[0]), timm.models.ResNet)


def _stock(spec: EncoderSpec) -> str:
    """The only stem of a network that is no ResNet; refuses others."""
    if spec.stem not in ("auto", "stock"):
        raise UsageError(f"--stem {spec.stem} is for ResNets; {spec.name} has another stem\nuse --stem stock")
    return "stock"


def _stem(spec: EncoderSpec) -> tuple[str, str]:
    """The ResNet stem and the reason for it."""
    if spec.stem != "auto":
        return spec.stem, "given"
    side = max(spec.image_size)
    if side > _SMALL_SIDE:
        return "stock", f"made for images like these ({side} px)"
    if spec.long_run:
        return "small", f"keeps resolution at {side} px; four times the work, which a long run repays"
    return "stock", f"faster, and ahead in a short run; for a long one at {side} px use --stem small"


def _patch_size(spec: EncoderSpec) -> tuple[int, str]:
    """The patch size and the reason for it; it must divide both sides."""
    height, width = spec.image_size
    if spec.patch_size not in ("auto", None):
        patch, reason = int(spec.patch_size), "given"
    elif max(height, width) > 2 * _SMALL_SIDE:
        patch, reason = 16, "the usual one for large images"
    else:
        wanted = max(2, max(height, width) // _TOKENS_PER_SIDE)
        both = [p for p in range(2, wanted + 1) if height % p == 0 and width % p == 0]
        patch, reason = (both or [wanted])[-1], f"about {_TOKENS_PER_SIDE} patches a side at {height}x{width} px"
    if height % patch or width % patch:
        allowed = [p for p in range(2, min(height, width) // 2 + 1) if height % p == 0 and width % p == 0]
        raise UsageError(
            f"patch size {patch} does not divide images of {height}x{width} px\n"
            f"allowed: {allowed or 'none'}; or choose another --image-size"
        )
    return patch, reason


def _create(spec: EncoderSpec, options: dict[str, Any], *, fetch: bool) -> nn.Module:
    """Timm's network; a failed download, or an option that it does not have, becomes one line."""
    try:
        network: nn.Module = timm.create_model(spec.name, pretrained=fetch, **options)
        return network
    except AssertionError:
        if "global_pool" not in options:
            raise
        raise UsageError(
            f"{spec.name} cannot pool by {spec.pool!r}\n"
            "use another vision transformer, such as vit_tiny_patch16_224, or leave encoder.pool out"
        ) from None
    except TypeError:
        if not spec.drop_path:
            raise
        raise UsageError(f"{spec.name} has no stochastic depth\nleave encoder.drop_path out") from None
    except (OSError, RuntimeError) as error:
        if not fetch:
            raise
        raise EnvironmentFault(
            f"timm's weights for {spec.name} could not be fetched: {first_line(error)[:150]}\n"
            "check the connection, or train from scratch without encoder.pretrained"
        ) from error
