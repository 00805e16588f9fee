"""The settings of a run on images. Does not import torch."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from selfstudy.config import (
    AUTO_METHOD,
    Auto,
    DataConfig,
    EncoderConfig,
    Keyword,
    NotNegative,
    RunConfig,
    SameResult,
    read_yaml,
)
from selfstudy.errors import UsageError, did_you_mean
from selfstudy.views.presets import PRESETS


class ImageDataConfig(DataConfig):
    """The images to learn from, and how they are read."""

    image_size: Annotated[
        Auto | int | tuple[int, int],
        Field(description="Image size in pixels: 224, or 96x64 for height x width."),
        Keyword("image_size"),
    ] = "auto"
    channels: Annotated[Auto | int, Field(description="Channels of every image; auto takes those of the images.")] = (
        "auto"
    )
    mean: Annotated[Auto | list[float], Field(description="Mean per channel, in [0, 1]; auto measures it.")] = "auto"
    std: Annotated[
        Auto | list[float], Field(description="Standard deviation per channel, in [0, 1]; auto measures it.")
    ] = "auto"
    views: Annotated[
        str | dict[str, Any] | list[dict[str, Any]],
        Field(description=f"Changes to the method's own views: {', '.join(PRESETS)}, or a YAML file."),
        Keyword("views"),
    ] = "auto"
    shrink_to: Annotated[
        Auto | Annotated[int, Field(ge=8)] | None,
        Field(description="Shorter side in pixels that larger images are shrunk to when read; null reads them whole."),
    ] = "auto"
    cache_gigabytes: Annotated[
        Auto | NotNegative,
        Field(description="Memory for decoded images, in gigabytes; 0 decodes them in every epoch."),
        SameResult(),
    ] = "auto"
    max_bad: Annotated[
        float, Field(ge=0, le=1, description="Share of unreadable images above which a run stops."), SameResult()
    ] = 0.1

    @field_validator("image_size", mode="before")
    @classmethod
    def _from_text(cls, given: object) -> object:
        """(height, width) for ``"96x64"``."""
        parts = given.lower().split("x") if isinstance(given, str) else []
        return tuple(map(int, parts)) if len(parts) == 2 and all(part.isdigit() for part in parts) else given

    @field_validator("views", mode="before")
    @classmethod
    def _from_file(cls, given: object) -> object:
        """The content of a YAML file that was named; refuses unknown names."""
        if isinstance(given, str | Path) and Path(given).suffix in (".yaml", ".yml"):
            content = read_yaml(given)
            given = content.get("views", content)
        if isinstance(given, str) and given not in ("auto", "own", *PRESETS):
            raise UsageError(
                f"unknown views {given!r}{did_you_mean(given, PRESETS)}\nknown: {', '.join(PRESETS)}, or a .yaml file"
            )
        return given


class ImageEncoderConfig(EncoderConfig):
    """The network that is trained on images."""

    name: Annotated[
        str, Field(description="Any timm name; 'selfstudy encoders' lists good ones."), Keyword("encoder")
    ] = "auto"
    stem: Annotated[
        Literal["auto", "stock", "no_pool", "small"],
        Field(description="First layers: no_pool has no max-pool; small also has a stride-1 first convolution."),
        Keyword("stem"),
    ] = "auto"
    patch_size: Annotated[Auto | int | None, Field(description="Patch size of vision transformers, pixels.")] = "auto"
    pool: Annotated[
        Literal["auto", "own", "token", "avg"],
        Field(description="Vector of a vision transformer: its class token, or the mean of its patch tokens."),
    ] = "auto"
    pretrained: Annotated[bool, Field(description="Start from timm's pretrained weights.")] = False
    drop_path: Annotated[
        float, Field(ge=0, lt=1, description="Stochastic depth of the last block; it grows from 0 over the blocks.")
    ] = 0.0

    @field_validator("name")
    @classmethod
    def _is_in_timm(cls, name: str) -> str:
        if name != "auto":
            from selfstudy.encoders.timm import require_known  # torch takes a second to import

            require_known(name)
        return name


class ImageRunConfig(RunConfig):
    """All settings of a run on images."""

    default_method = AUTO_METHOD
    data: ImageDataConfig
    encoder: ImageEncoderConfig = ImageEncoderConfig()
