"""The one file that knows every modality. Importing it does not import torch."""

from typing import TYPE_CHECKING, Any

from rich.console import Console

from selfstudy.config import RunConfig
from selfstudy.images.config import ImageRunConfig
from selfstudy.methods import method_class
from selfstudy.text.config import TextRunConfig

if TYPE_CHECKING:
    from selfstudy.runs.modality import Work

SETTINGS: dict[str, type[RunConfig]] = {"image": ImageRunConfig, "text": TextRunConfig}


def open_work(data: Any, config: RunConfig, console: Console) -> "Work":
    """What is to be trained, and on what, with the settings that its data suggest."""
    if method_class(config.method["name"]).modality == "image":
        from selfstudy.images.work import ImageWork

        return ImageWork(data, config, console)
    from selfstudy.text.work import TextWork  # transformers takes a second to import

    return TextWork(data, config, console)
