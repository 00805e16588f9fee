"""The cost of an optimizer step on this machine, in seconds and in bytes: real steps on small batches, no table."""

import time
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from selfstudy.errors import SelfstudyError
from selfstudy.methods.base import Method
from selfstudy.ops.duration import Duration
from selfstudy.runs.folder import RunFolder
from selfstudy.runs.modality import Work
from selfstudy.runs.pretraining import launch, make_trainer
from selfstudy.runs.resolved import Resolved
from selfstudy.train.loop import Trainer

_FIRST_BATCH, _GROWTH = 4, 4  # inputs of the first step, and the factor to the next batch
_ROUNDS = 2  # steps at each batch; the first one sets up memory and kernels, and the fastest one counts
_ONE_STEP = Duration(1_000_000, "steps")  # the length of a run of which a few steps are made
# Besides what is kept for the backward pass, the passes need room for a few of the largest tensors at a time.
_PASSING_TENSORS = 2


class StepCost(NamedTuple):
    """The cost of an optimizer step as a function of the batch size.

    Attributes:
        fixed: the seconds of a step that do not depend on its batch size.
        each: the seconds of each input.
        fixed_bytes: the memory of weights, gradients and optimizer.
        each_bytes: the memory of each input: its views, and what is kept of them for the backward pass.
    """

    fixed: float
    each: float
    fixed_bytes: float
    each_bytes: float

    def seconds(self, batch: int) -> float:
        """The seconds of a step."""
        return self.fixed + self.each * batch

    def memory(self, batch: int) -> float:
        """The bytes that training needs in addition to the program and its data."""
        return self.fixed_bytes + self.each_bytes * batch


def step_cost(work: Work, resolved: Resolved[Any], *, largest: int, seconds: float) -> StepCost:
    """The measured cost of a step; the batch grows while there is time.

    The steps are those of training: views, passes, clipping, optimizer, hooks. Their results are thrown away.

    Args:
        work: the data; reading and decoding count as they do in training without workers.
        resolved: the decided settings; their batch size does not matter.
        largest: the largest batch to try, at least 2; the data have as many inputs.
        seconds: the time to spend; two batches are tried in any case, if ``largest`` allows.
    """
    began, fabric = time.perf_counter(), launch(resolved.config.train)
    method = work.build_method(resolved, fetch=False)
    times: list[tuple[int, float]] = []
    batch = min(_FIRST_BATCH, largest)
    while True:
        train = resolved.train._replace(duration=_ONE_STEP, batch_size=batch, accumulate=1, workers=0, compile=False)
        trainer = make_trainer(fabric, method, replace(resolved, train=train), work, RunFolder("unused"))
        trainer.begin()
        saved = _Saved(method)
        try:
            times.append((batch, _seconds(trainer, saved)))
        except (SelfstudyError, RuntimeError):  # some losses need more inputs, such as those with a covariance matrix
            if batch == largest:
                raise
        fixed, each = _line(times) if times else (0.0, 0.0)
        larger = min(_GROWTH * batch, largest)
        left = seconds - (time.perf_counter() - began)
        if larger == batch or (len(times) > 1 and left < _ROUNDS * (fixed + each * larger)):
            break
        batch = larger
    return StepCost(fixed, each, _model_bytes(method, resolved.optimizer.name), saved.bytes_of(times[-1][0]))


def _seconds(trainer: Trainer, saved: "_Saved") -> float:
    """The duration of the fastest of a few steps."""
    durations = []
    for _ in range(_ROUNDS):
        saved.clear()
        with torch.autograd.graph.saved_tensors_hooks(saved.note, lambda tensor: tensor):
            observation = trainer.step(trainer.clock.progress(trainer.steps_done))
        durations.append(observation.seconds)
    saved.views = sum(view.numel() * view.element_size() for view in observation.views)
    return min(durations)


def _line(times: list[tuple[int, float]]) -> tuple[float, float]:
    """The fixed and the further seconds of a step, by the line through the two largest batches; neither is negative."""
    (small, short), (large, long) = times[-2] if len(times) > 1 else (0, 0.0), times[-1]
    each = min(max((long - short) / (large - small), 0.0), long / large)
    return long - each * large, each


class _Saved:
    """Counts the memory of what autograd keeps for the backward pass, without the weights."""

    def __init__(self, method: nn.Module) -> None:
        self._weights = {weight.untyped_storage().data_ptr() for weight in [*method.parameters(), *method.buffers()]}
        self._sizes: dict[int, int] = {}
        self.views = 0

    def clear(self) -> None:
        """Forget everything."""
        self._sizes = {}

    def note(self, tensor: Tensor) -> Tensor:
        """Count a tensor that is kept; tensors that share their memory count once."""
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self._weights:
            self._sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    def bytes_of(self, batch: int) -> float:
        """The memory for each of ``batch`` inputs."""
        largest = max(self._sizes.values(), default=0)
        return (sum(self._sizes.values()) + _PASSING_TENSORS * largest + self.views) / batch


def _model_bytes(method: Method, optimizer: str) -> float:
    """The memory of the weights and buffers, of the gradients, and of the state of the optimizer."""
    trained = [weight for weight in method.parameters() if weight.requires_grad]
    copies = [*method.parameters(), *method.buffers(), *(3 if optimizer == "adamw" else 2) * trained]
    return float(sum(tensor.numel() * tensor.element_size() for tensor in copies))
