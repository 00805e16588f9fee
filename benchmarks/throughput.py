"""Compare the images per second of a SimCLR run with those of the bare encoder's forward and backward pass.

Both run in one process in turns, with the same batch, precision, memory layout and allocator. So the ratio is
meaningful on a noisy machine::

    python benchmarks/throughput.py CIFAR10_TRAIN_FOLDER --rounds 5 --out benchmarks/results/throughput.json

The program prints and writes the medians and the ratio. The bare model gets two views per image, as SimCLR does, as
ready tensors. On a GPU choose a network and images that are large enough for it:
``--encoder vit_small_patch16_224 --image-size 224 --batch-size 256``.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import torch
from rich.console import Console

from selfstudy.images.work import ImageWork
from selfstudy.machine.allocator import keep_freed_memory
from selfstudy.modalities import configured
from selfstudy.runs.folder import RunFolder
from selfstudy.runs.pretraining import launch, make_trainer
from selfstudy.train.loop import Trainer


def settle(device: torch.device) -> None:
    """Wait until the device has finished its work."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def bare_images_per_second(encoder: torch.nn.Module, views: torch.Tensor, *, half: bool, steps: int) -> float:
    """Return the images per second of the encoder's forward and backward pass on ready views, two per image."""
    began = time.perf_counter()
    for _ in range(steps):
        with torch.autocast(views.device.type, torch.bfloat16, enabled=half):
            loss = encoder(views).float().square().mean()
        loss.backward()
        encoder.zero_grad(set_to_none=True)
    settle(views.device)
    return len(views) // 2 * steps / (time.perf_counter() - began)


def run_images_per_second(trainer: Trainer, steps: int) -> float:
    """Return the images per second of the trainer's own step, without checkpoints and monitors."""
    began = time.perf_counter()
    for _ in range(steps):
        trainer.step(trainer.clock.progress(trainer.steps_done))
    settle(trainer.fabric.device)
    return trainer.data.order.batch_size * steps / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data")
    parser.add_argument("--encoder", default="resnet10t")
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    keywords = {"encoder": options.encoder, "minutes": 5}
    keywords |= {name: value for name in ("image_size", "batch_size") if (value := getattr(options, name))}
    config = configured(options.data, {}, keywords)
    work = ImageWork(options.data, config, Console())
    resolved = work.resolve()
    method = work.build_method(resolved)
    if resolved.train.device == "cpu":
        keep_freed_memory()  # every run on a processor does this
    trainer = make_trainer(launch(config.train), method, resolved, work, RunFolder("unused"))
    trainer.begin()
    train, inputs = resolved.train, resolved.inputs
    views = torch.randn(2 * train.batch_size, inputs.channels, *inputs.size, device=trainer.fabric.device)
    views = views.to(memory_format=torch.channels_last)
    bare, full = [], []
    for round_number in range(options.rounds + 1):
        pair = (
            bare_images_per_second(method.encoder, views, half=trainer.plan.half, steps=options.steps),
            run_images_per_second(trainer, options.steps),
        )
        if round_number:  # the first round warms up
            bare.append(pair[0])
            full.append(pair[1])
    result = {
        "encoder": options.encoder,
        "batch_size": train.batch_size,
        "precision": train.precision,
        "image_size": inputs.size,
        "device": torch.cuda.get_device_name() if train.device == "cuda" else train.device,
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
