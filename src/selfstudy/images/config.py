"""The settings of a run on images. Does not import torch."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from selfstudy.config import Auto, DataConfig, EncoderConfig, NotNegative, RunConfig, settled
from selfstudy.errors import UsageError, did_you_mean
from selfstudy.views.presets import PRESETS


class ImageDataConfig(DataConfig):
    """The images to learn from, and how they are read."""

    image_size: Annotated[Auto | int | tuple[int, int], Field(description="side, or [height, width], in pixels")] = (
        "auto"
    )
    channels: Annotated[Auto | int, Field(description="channels an image must have")] = "auto"
    mean: Annotated[Auto | list[float], Field(description="per channel, in [0, 1]; measured when auto")] = "auto"
    std: Annotated[Auto | list[float], Field(description="per channel, in [0, 1]; measured when auto")] = "auto"
    views: Annotated[
        str | dict[str, Any] | list[dict[str, Any]],
        Field(description="auto: the method's own, for photographs; else changes to them"),
    ] = "auto"
    cache_gigabytes: Annotated[
        Auto | NotNegative, Field(description="memory for decoded images; 0 reads them every time")
    ] = "auto"
    max_bad: Annotated[float, Field(ge=0, le=1, description="share of unreadable inputs above which a run stops")] = 0.1

    @field_validator("views", mode="before")
    @classmethod
    def _is_known(cls, views: Any) -> Any:
        if isinstance(views, str) and views not in ("auto", "own", *PRESETS):
            raise UsageError(
                f"unknown views {views!r}{did_you_mean(views, PRESETS)}\nknown: {', '.join(PRESETS)}, or a .yaml file"
            )
        return views

    @property
    def size(self) -> tuple[int, int]:
        """The resolved image size as (height, width), in pixels."""
        if isinstance(self.image_size, tuple):
            return self.image_size
        side = settled(self.image_size)
        return side, side


class ImageEncoderConfig(EncoderConfig):
    """The network that is trained on images."""

    name: Annotated[str, Field(description="a timm name")] = "auto"
    stem: Literal["auto", "stock", "no_pool", "small"] = "auto"
    patch_size: Auto | int | None = "auto"
    pool: Annotated[Literal["auto", "own", "token", "avg"], Field(description="of vision transformers")] = "auto"
    pretrained: bool = False
    drop_path: Annotated[
        float, Field(ge=0, lt=1, description="stochastic depth of the last block; it grows from 0 over the blocks")
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

    data: ImageDataConfig
    encoder: ImageEncoderConfig = ImageEncoderConfig()
