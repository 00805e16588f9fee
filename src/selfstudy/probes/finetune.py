"""Fine-tuning: a copy of the whole encoder and a linear head are trained end to end with labels, and tested once.

There is one short recipe for every encoder, so the encoder before its first step, fine-tuned in the same way, shows
what labels alone give: AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101), a linear warm-up and half a cosine. The
learning rate is measured in docs/log.md (2026-11-26). The head begins at zero, so no draw of its weights decides
anything.
"""

import copy
import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from selfstudy.data.order import EpochOrder
from selfstudy.encoders.attention import spell_out_attention
from selfstudy.errors import TrainingError
from selfstudy.ops.classification import cross_entropy
from selfstudy.ops.random import seed_torch
from selfstudy.ops.schedules import Cosine, Progress
from selfstudy.optim.groups import parameter_groups
from selfstudy.optim.optimizer import build_optimizer
from selfstudy.probes.results import Score, wilson

_STEP_STREAM = 0x66696E65


class FinetuneRecipe(NamedTuple):
    """The settings under which every encoder is fine-tuned.

    Attributes:
        epochs: the least number of epochs; more where they hold fewer than ``steps``.
        steps: the least number of optimizer steps: a few dozen teach nothing, however small the data.
        batch_size: the most examples in a batch; all of train where it is smaller.
        learning_rate: the highest one.
        weight_decay: the decay of weights, not of biases and norms.
        warmup: the share of the steps.
        clip: the largest norm of the gradient.
        seed: decides the order, the augmentation and dropout.
    """

    epochs: int = 10
    steps: int = 200
    batch_size: int = 64
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    warmup: float = 0.1
    clip: float = 1.0
    seed: int = 0


RECIPE = FinetuneRecipe()


class Batch(NamedTuple):
    """The inputs of an encoder for B examples, and their classes (B,) int64."""

    inputs: Any
    targets: Tensor


class Task(NamedTuple):
    """An encoder to fine-tune, and the labelled data.

    Attributes:
        name: the row of the table, such as ``"pretrained encoder"``.
        encoder: a module with ``embed_dim``, on the device that trains; it stays as it is.
        recipe: the settings.
        order: the order of train, made by :func:`order_of`.
        train: a function from a step to its batch, augmented.
        test: the batches of test, not augmented.
        n_test: the number of test examples.
        classes: the number of classes.
        embed: a function from an encoder and a batch's inputs to embeddings (B, D).
        how: a description of the inputs, for the protocol.
        half: True if the forward pass is in bfloat16 autocast, in training and in the test.
        report: receives a line after every epoch.
    """

    name: str
    encoder: nn.Module
    recipe: FinetuneRecipe
    order: EpochOrder
    train: Callable[[int], Batch]
    test: Iterable[Batch]
    n_test: int
    classes: int
    embed: Callable[[Any, Any], Tensor]
    how: str
    half: bool = False
    report: Callable[[str], None] = lambda line: None

    @property
    def epochs(self) -> int:
        """The number of epochs that the recipe takes with this number of examples."""
        return max(self.recipe.epochs, math.ceil(self.recipe.steps / self.order.steps_per_epoch))


def order_of(count: int, recipe: FinetuneRecipe) -> EpochOrder:
    """The order in which ``count`` train examples are taken."""
    return EpochOrder(recipe.seed, count, min(recipe.batch_size, count))


def measure(task: Task) -> list[Score]:
    """The accuracy on test of a copy of the encoder, trained with labels.

    Raises:
        TrainingError: a loss that is not finite.
    """
    recipe = task.recipe

    def optimizer(module: nn.Module) -> torch.optim.Optimizer:
        groups, rate, decay = parameter_groups(module), recipe.learning_rate, recipe.weight_decay
        return build_optimizer(groups, name="adamw", lr=rate, weight_decay=decay)

    right = finetune(task, optimizer=optimizer)
    accuracy = 100.0 * float(right.double().mean())
    interval = wilson(accuracy, task.n_test)
    return [Score(task.name, "finetune", accuracy, protocol_of(task), interval=interval, right=bytes(right.numpy()))]


def finetune(task: Task, *, optimizer: Callable[[nn.Module], torch.optim.Optimizer]) -> Tensor:
    """The test examples (M,) bool that a copy of the encoder and a linear head get right after training both.

    Args:
        task: the encoder and the data.
        optimizer: makes an optimizer over the parameters of a module.

    Raises:
        TrainingError: a loss that is not finite.
    """
    device = next(task.encoder.parameters()).device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        classifier = _Classifier(task).to(device)
        if task.half and device.type == "cpu":
            spell_out_attention(classifier)
        _train(classifier, task, optimizer(classifier))
        return _right(classifier.eval(), task.test)


class _Classifier(nn.Module):
    """A copy of a task's encoder and a linear head that begins at zero; both in bfloat16 autocast if ``half``."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.encoder, self._embed, self._half = copy.deepcopy(task.encoder), task.embed, task.half
        self.head = nn.Linear(int(self.encoder.embed_dim), task.classes)  # type: ignore[arg-type]  # an int on encoders
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, inputs: Any) -> Tensor:
        """Logits (B, K) in the precision of the head."""
        with torch.autocast(self.head.weight.device.type, torch.bfloat16, enabled=self._half):
            logits: Tensor = self.head(self._embed(self.encoder, inputs))
        return logits


def _train(classifier: nn.Module, task: Task, optimizer: torch.optim.Optimizer) -> None:
    """Take all steps."""
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
            task.report(f"epoch {(step + 1) // per_epoch} of {task.epochs}, loss {loss:.3f}")
            loss = 0.0


def _step(classifier: nn.Module, batch: Batch, optimizer: torch.optim.Optimizer, clip: float) -> float:
    """The loss before a step of the optimizer, which is taken."""
    loss = cross_entropy(classifier(batch.inputs), batch.targets)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]  # torch has no types here
    nn.utils.clip_grad_norm_(classifier.parameters(), clip)
    optimizer.step()
    return float(loss.detach())


@torch.inference_mode()
def _right(classifier: nn.Module, test: Iterable[Batch]) -> Tensor:
    """The test examples (M,) bool, on the CPU, that a classifier in eval mode gets right."""
    return torch.cat([classifier(batch.inputs).argmax(dim=1) == batch.targets for batch in test]).cpu()


def protocol_of(task: Task) -> str:
    """A description of how the accuracy was measured, for printing with it."""
    recipe = task.recipe
    return (
        f"fine-tuned: whole encoder and linear head, AdamW {recipe.learning_rate:g} (weight decay "
        f"{recipe.weight_decay:g}, warm-up over {100 * recipe.warmup:g} %, cosine to 0, gradient clipped at "
        f"{recipe.clip:g}), {task.epochs} epochs, batch {task.order.batch_size}, {task.how}, "
        f"{'bf16' if task.half else 'fp32'}, seed {recipe.seed}, final model, {task.order.n:,} train / "
        f"{task.n_test:,} test, test used once"
    )
