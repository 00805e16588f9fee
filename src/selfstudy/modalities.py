"""The one file that knows every modality."""

from typing import Any

from rich.console import Console

from selfstudy.config import RunConfig
from selfstudy.methods import method_class
from selfstudy.runs.modality import Work


def open_work(data: Any, config: RunConfig, console: Console) -> Work:
    """What is to be trained, and on what, with the settings that its data suggest."""
    if method_class(config.method["name"]).reads.modality == "images":
        from selfstudy.images.work import ImageWork

        return ImageWork(data, config, console)
    from selfstudy.text.work import TextWork  # transformers takes a second to import

    return TextWork(data, config, console)
