"""Fine-tuning: a copy of the whole encoder and a linear head are trained end to end with labels, and tested once.

One short recipe for every encoder, so that the encoder before its first step, fine-tuned likewise, is what labels alone
give: AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101), a linear warm-up and half a cosine. The learning rate is
measured in docs/log.md (2026-11-26). The head begins at zero, so no draw of its weights decides anything.
"""

import copy
import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from rich.console import Console
from torch import Tensor, nn

from selfstudy.data.order import EpochOrder
from selfstudy.encoders.attention import spell_out_attention
from selfstudy.errors import TrainingError
from selfstudy.ops.classification import cross_entropy
from selfstudy.ops.random import seed_torch
from selfstudy.ops.schedules import Cosine, Progress
from selfstudy.optim.groups import parameter_groups
from selfstudy.optim.optimizer import build_optimizer
from selfstudy.probes.results import Score
from selfstudy.probes.table import FINETUNE

_STEP_STREAM = 0x66696E65


class Recipe(NamedTuple):
    """How every encoder is fine-tuned.

    Attributes:
        epochs: at least; more where they hold fewer than ``steps``.
        steps: of the optimizer, at least: a few dozen teach nothing, however small the data.
        batch_size: at most; all of train where that is smaller.
        learning_rate: at its highest.
        weight_decay: of weights, not of biases and norms.
        warmup: share of the steps.
        clip: largest norm of the gradient.
        seed: of the order, the augmentation and dropout.
    """

    epochs: int = 10
    steps: int = 200
    batch_size: int = 64
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    warmup: float = 0.1
    clip: float = 1.0
    seed: int = 0


RECIPE = Recipe()


class Batch(NamedTuple):
    """What an encoder reads of B examples, and their classes (B,) int64."""

    inputs: Any
    targets: Tensor


class Task(NamedTuple):
    """What is learnt and tested.

    Attributes:
        recipe: how it is learnt.
        order: of train, made by :func:`order_of`.
        train: the batch of a step, augmented.
        test: all of test, not augmented.
        classes: how many there are.
        embed: an encoder and a batch's inputs to embeddings (B, D).
        how: what is done to the inputs, for the protocol.
    """

    recipe: Recipe
    order: EpochOrder
    train: Callable[[int], Batch]
    test: Iterable[Batch]
    classes: int
    embed: Callable[[Any, Any], Tensor]
    how: str

    @property
    def epochs(self) -> int:
        """How many the recipe has on so many examples."""
        return max(self.recipe.epochs, math.ceil(self.recipe.steps / self.order.steps_per_epoch))


def order_of(count: int, recipe: Recipe) -> EpochOrder:
    """The order in which ``count`` train examples are taken."""
    return EpochOrder(recipe.seed, count, min(recipe.batch_size, count))


def finetune(
    encoder: nn.Module,
    task: Task,
    *,
    optimizer: Callable[[nn.Module], torch.optim.Optimizer],
    half: bool = False,
    report: Callable[[str], None] = lambda line: None,
) -> float:
    """Accuracy on test, in percent, of the encoder and a linear head after training both; the encoder stays as it is.

    Args:
        encoder: with ``embed_dim``, on the device that trains.
        task: the data and the recipe.
        optimizer: over the parameters of the module it is given.
        half: whether the forward pass of training is in bfloat16 autocast, and that of the test.
        report: is told of every epoch.

    Raises:
        TrainingError: a loss that is not finite.
    """
    device = next(encoder.parameters()).device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        classifier = _Classifier(copy.deepcopy(encoder), task, half=half).to(device)
        if half and device.type == "cpu":
            spell_out_attention(classifier)
        _train(classifier, task, optimizer(classifier), report)
        return _accuracy(classifier.eval(), task.test)


class _Classifier(nn.Module):
    """An encoder and a linear head that begins at zero; both in bfloat16 autocast if ``half``."""

    def __init__(self, encoder: nn.Module, task: Task, *, half: bool) -> None:
        super().__init__()
        self.encoder, self._embed, self._half = encoder, task.embed, half
        self.head = nn.Linear(int(encoder.embed_dim), task.classes)  # type: ignore[arg-type]
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, inputs: Any) -> Tensor:
        with torch.autocast(self.head.weight.device.type, torch.bfloat16, enabled=self._half):
            logits: Tensor = self.head(self._embed(self.encoder, inputs))
        return logits


def _train(classifier: nn.Module, task: Task, optimizer: torch.optim.Optimizer, report: Callable[[str], None]) -> None:
    """All steps."""
    recipe, per_epoch, device = task.recipe, task.order.steps_per_epoch, next(classifier.parameters()).device
    schedule, total, loss = Cosine(recipe.learning_rate, warmup=recipe.warmup), per_epoch * task.epochs, 0.0
    classifier.train()
    for step in range(total):
        for group in optimizer.param_groups:
            group["lr"] = schedule(Progress(step, total))
        # Dropout is a function of the step: nothing drawn before decides it.
        seed_torch(recipe.seed, _STEP_STREAM, step, device=device)
        loss += _step(classifier, task.train(step), optimizer, recipe.clip) / per_epoch
        if not math.isfinite(loss):
            raise TrainingError(
                f"fine-tuning: the loss became {loss} at step {step + 1} of {total}\n"
                "usual causes: an encoder that diverged or collapsed, half precision\n"
                "look at the run's health.jsonl, or leave finetune out of the probes"
            )
        if (step + 1) % per_epoch == 0:
            report(f"epoch {(step + 1) // per_epoch} of {task.epochs}, loss {loss:.3f}")
            loss = 0.0


def _step(classifier: nn.Module, batch: Batch, optimizer: torch.optim.Optimizer, clip: float) -> float:
    """One step of the optimizer; the loss before it."""
    loss = cross_entropy(classifier(batch.inputs), batch.targets)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(classifier.parameters(), clip)
    optimizer.step()
    return float(loss.detach())


@torch.inference_mode()
def _accuracy(classifier: nn.Module, test: Iterable[Batch]) -> float:
    """Share of test that a classifier in eval mode gets right, in percent."""
    right = [classifier(batch.inputs).argmax(dim=1) == batch.targets for batch in test]
    return 100.0 * float(torch.cat(right).double().mean())


def finetune_protocol(task: Task, n_test: int, *, half: bool) -> str:
    """How the accuracy was measured, for printing beside it."""
    recipe = task.recipe
    return (
        f"fine-tuned: whole encoder and linear head, AdamW {recipe.learning_rate:g} (weight decay "
        f"{recipe.weight_decay:g}, warm-up over {100 * recipe.warmup:g} %, cosine to 0, gradient clipped at "
        f"{recipe.clip:g}), {task.epochs} epochs, batch {task.order.batch_size}, {task.how}, "
        f"{'bf16' if half else 'fp32'}, seed {recipe.seed}, final model, {task.order.n:,} train / {n_test:,} test, "
        "test used once"
    )


def finetuned(name: str, encoder: nn.Module, task: Task, *, n_test: int, half: bool, console: Console) -> Score:
    """The accuracy on test of a copy of an encoder, trained with labels.

    Args:
        name: what the encoder is, for the table.
        encoder: on the device that trains; it stays as it is.
        task: the data and the recipe.
        n_test: of the task, for the protocol.
        half: train in bfloat16.
        console: where a line for every epoch is printed.

    Raises:
        TrainingError: a loss that is not finite.
    """
    recipe = task.recipe

    def optimizer(module: nn.Module) -> torch.optim.Optimizer:
        groups, rate, decay = parameter_groups(module), recipe.learning_rate, recipe.weight_decay
        return build_optimizer(groups, name="adamw", lr=rate, weight_decay=decay)

    def report(line: str) -> None:
        console.print(f"         {name}, fine-tuned: {line}", highlight=False)

    accuracy = finetune(encoder, task, optimizer=optimizer, half=half, report=report)
    return Score(name, FINETUNE, accuracy, finetune_protocol(task, n_test, half=half))
