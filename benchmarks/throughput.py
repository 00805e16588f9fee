"""Images per second of a real SimCLR run against the bare encoder's forward and backward on ready tensors.

Both in one process, alternating, same batch, precision, memory layout and allocator, so that the ratio means something
on a noisy machine::

    python benchmarks/throughput.py CIFAR10_TRAIN_FOLDER --rounds 5 --out benchmarks/results/throughput.json

Prints and writes the medians and the ratio. The bare model sees two views per image, as SimCLR does.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import torch
from rich.console import Console

from selfstudy import config as cfg
from selfstudy.data.memory import keep_freed_memory
from selfstudy.image_work import ImageWork
from selfstudy.pretraining import launch, make_trainer
from selfstudy.run_folder import RunFolder
from selfstudy.train.loop import Trainer


def bare_images_per_second(encoder: torch.nn.Module, batch: int, size: tuple[int, int], steps: int) -> float:
    """Forward and backward of the encoder alone on 2 x batch ready views."""
    views = torch.randn(2 * batch, 3, *size).to(memory_format=torch.channels_last)
    began = time.perf_counter()
    for _ in range(steps):
        encoder(views).square().mean().backward()
    encoder.zero_grad(set_to_none=True)
    return batch * steps / (time.perf_counter() - began)


def run_images_per_second(trainer: Trainer, steps: int) -> float:
    """The trainer's own step, everything included but checkpoints and monitors."""
    began = time.perf_counter()
    for _ in range(steps):
        trainer.step(trainer.clock.progress(trainer.steps_done))
    return trainer.data.order.batch_size * steps / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data")
    parser.add_argument("--encoder", default="resnet10t")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    settings = {
        "data": {"path": options.data},
        "encoder": {"name": options.encoder},
        "train": {"duration": "5 minutes"},
    }
    config = cfg.build(settings)
    work = ImageWork(options.data, config, Console())
    method, resolved = work.build_method()
    keep_freed_memory()  # as every run on a processor does
    trainer = make_trainer(launch(config.train), method, resolved, work, RunFolder("unused"))
    trainer.begin()
    train, size = resolved.config.train, resolved.config.data.size
    bare, full = [], []
    for round_number in range(options.rounds + 1):
        pair = (
            bare_images_per_second(method.encoder, train.batch_size, size, options.steps),
            run_images_per_second(trainer, options.steps),
        )
        if round_number:  # the first round warms up
            bare.append(pair[0])
            full.append(pair[1])
    result = {
        "encoder": options.encoder,
        "batch_size": train.batch_size,
        "precision": train.precision,
        "threads": torch.get_num_threads(),
        "bare_images_per_second": round(statistics.median(bare), 1),
        "run_images_per_second": round(statistics.median(full), 1),
        "ratio": round(statistics.median(f / b for f, b in zip(full, bare, strict=True)), 4),
        "rounds": options.rounds,
    }
    print(json.dumps(result, indent=2))
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
