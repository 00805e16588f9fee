"""The label-free health of a run while it is trained: measured by the evaluate room, asked for by the loop."""

import json
from typing import Any

import torch

from selfstudy.errors import TrainingError
from selfstudy.methods.base import Method
from selfstudy.runs.folder import RunFolder
from selfstudy.runs.resolved import Resolved
from selfstudy.train.health import HealthMonitor
from selfstudy.train.monitor import Observation


class Health:
    """The label-free monitor: readings go to ``health.jsonl`` and, in short, to the progress bar."""

    def __init__(
        self, folder: RunFolder, resolved: Resolved[Any], method: Method, *, plateau: tuple[float, str] | None = None
    ) -> None:
        config = resolved.config.health
        self._folder, self._stop, self._every = folder, config.on_collapse == "stop", config.every
        chance = method.chance_loss(resolved.train.batch_size // resolved.train.accumulate)
        self._monitor = HealthMonitor(
            every=config.every, chance=chance, plateau=plateau, uniform_entropy=method.uniform_entropy()
        )
        self._note = ""
        self.last = "health: no reading yet"

    def __call__(self, observation: Observation) -> str:
        """Take a reading when one is due; raises TrainingError on collapse if the run asked for that."""
        step = observation.progress.step
        pair = _pair(observation) if step % self._every == 0 else None
        reading = self._monitor.observe(
            step,
            observation.loss,
            observation.metrics,
            observation.embedding,
            fraction=observation.progress.fraction,
            pair=pair,
        )
        if reading is not None:
            self._folder.append(self._folder.health, [json.loads(reading.to_json())])
            rank = "" if reading.effective_rank is None else f"rank {reading.effective_rank:.0f} "
            self._note, self.last = f"{rank}{reading.verdict}", reading.message
            if self._stop and reading.verdict == "collapsed":
                raise TrainingError(f"{reading.message}\nhealth.on_collapse is 'stop'; the last checkpoint is whole")
        return self._note


def _pair(observation: Observation) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Embeddings of two views of up to 256 images, in eval mode so that no state changes."""
    kinds = [(view.shape, view.dtype) for view in observation.views[:2]]  # text and its draws may have one shape
    if len(kinds) < 2 or kinds[0] != kinds[1]:
        return None
    encoder, training = observation.encoder, observation.encoder.training
    encoder.eval()
    with torch.inference_mode():
        first, second = (encoder(view[:256]).float().cpu() for view in observation.views[:2])
    encoder.train(training)
    return first, second
