"""Fine-tuning of a run's encoder as one more line of its evaluation: precision, optimizer and progress of it."""

from functools import partial

import torch
from rich.console import Console
from torch import nn

from selfstudy.config import read_yaml
from selfstudy.evaluate.finetune import Task, finetune, finetune_protocol
from selfstudy.evaluate.probes import FINETUNE
from selfstudy.evaluate.results import Score
from selfstudy.run_folder import RunFolder
from selfstudy.train.optimizer import build_optimizer


def finetuned(folder: RunFolder, name: str, encoder: nn.Module, task: Task, *, n_test: int, console: Console) -> Score:
    """The accuracy on test of a copy of an encoder, trained with labels; in bfloat16 where the run was.

    Args:
        folder: of the run.
        name: what the encoder is, for the table.
        encoder: on the device that trains; it stays as it is.
        task: the data and the recipe.
        n_test: of the task, for the protocol.
        console: where a line for every epoch is printed.

    Raises:
        TrainingError: a loss that is not finite.
    """
    half = _trained_in_half(folder, next(encoder.parameters()).device)
    recipe = task.recipe
    optimizer = partial(build_optimizer, name="adamw", lr=recipe.learning_rate, weight_decay=recipe.weight_decay)

    def report(line: str) -> None:
        console.print(f"         {name}, fine-tuned: {line}", highlight=False)

    accuracy = finetune(encoder, task, optimizer=optimizer, half=half, report=report)
    return Score(name, FINETUNE, accuracy, finetune_protocol(task, n_test, half=half))


def _trained_in_half(folder: RunFolder, device: torch.device) -> bool:
    """Whether the run was in bfloat16 on this kind of device: another may be far slower in it."""
    train = read_yaml(folder.config)["train"]
    return bool(train["precision"] == "bf16" and train["device"] == device.type)
