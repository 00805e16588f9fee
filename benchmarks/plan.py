"""Compare what a plan predicts, the seconds of a step and the memory, with what training then takes.

Each of twelve combinations of method, encoder and image size is planned in one process and trained for some steps in
another one, so that the memory of the first does not count for the second::

    python benchmarks/plan.py PHOTOS --out benchmarks/results/plan.jsonl
    python benchmarks/plan.py PHOTOS --out benchmarks/results/plan.jsonl --table

A combination that has its line in the file is not repeated. The prediction rests on trials of at most six seconds, as
in any run with a budget in minutes. The measured time is the median of the steps after the first two; the measured
memory is the peak of the process.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from rich.console import Console

from selfstudy.images.config import ImageRunConfig
from selfstudy.images.prospect import fixed
from selfstudy.images.work import ImageWork
from selfstudy.machine.allocator import freed_memory_returned, keep_freed_memory
from selfstudy.modalities import configured
from selfstudy.runs.folder import RunFolder
from selfstudy.runs.pretraining import launch, make_trainer

COMBINATIONS = (
    ("simclr", "resnet10t", 32),
    ("simclr", "resnet10t", 96),
    ("simclr", "resnet18", 64),
    ("simclr", "resnet18", 128),
    ("byol", "resnet10t", 64),
    ("barlow_twins", "resnet18", 32),
    ("vicreg", "resnet10t", 64),
    ("moco", "resnet10t", 128),
    ("swav", "resnet10t", 96),
    ("dino", "vit_tiny_patch16_224", 64),
    ("mae", "vit_tiny_patch16_224", 128),
    ("simmim", "vit_tiny_patch16_224", 96),
)
WITHIN = 0.2


def settings(combination: str, batch: int) -> dict[str, Any]:
    """The keywords of a combination such as ``"simclr resnet10t 32"``."""
    method, encoder, size = combination.split()
    return {"method": method, "encoder": encoder, "image_size": int(size), "batch_size": batch, "device": "cpu"}


def predicted(data: str, combination: str, batch: int) -> dict[str, Any]:
    """The settings of a plan for many minutes, with its prediction."""
    config = configured(data, {}, {**settings(combination, batch), "minutes": 60})
    assert isinstance(config, ImageRunConfig)
    keep_freed_memory()  # as a run does
    work = ImageWork(data, config, Console(quiet=True))
    resolved, plan = work.resolve(), work.decision
    assert plan is not None  # a budget in minutes is planned
    return {"config": resolved.config.model_dump(mode="json"), "seconds": plan.step_seconds, "bytes": plan.bytes}


def measured(data: str, config: dict[str, Any], steps: int) -> dict[str, Any]:
    """The median seconds of a step, and the peak memory of this process in bytes."""
    decided = fixed(ImageRunConfig.model_validate(config), {"train.duration": f"{steps} steps"})
    with freed_memory_returned():  # as a run does
        work = ImageWork(data, decided, Console(quiet=True))
    resolved = work.resolve()
    method = work.build_method(resolved)
    trainer = make_trainer(launch(decided.train), method, resolved, work, RunFolder("unused"))
    trainer.begin()
    seconds = [trainer.step(trainer.clock.progress(step)).seconds for step in range(steps)]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts kibibytes
    return {"seconds": statistics.median(seconds[2:] or seconds), "bytes": peak}


def in_a_process(part: dict[str, Any]) -> dict[str, Any]:
    """The result of one part of the work in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, "--part", json.dumps(part)], stdout=subprocess.PIPE, text=True, check=True
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def table(lines: list[dict[str, Any]]) -> str:
    """The comparison as Markdown, with the number of combinations that are close."""
    head = "| method | encoder | px | s/step, plan | s/step, measured | GB, plan | GB, measured |"
    rows, close = [head, "|---|---|---|---|---|---|---|"], 0
    for line in lines:
        plan, real = line["predicted"], line["measured"]
        ratios = [plan[key] / real[key] for key in ("seconds", "bytes")]
        close += all(abs(ratio - 1) <= WITHIN for ratio in ratios)
        times = f"{plan['seconds']:.3f} | {real['seconds']:.3f} ({ratios[0] - 1:+.0%})"
        memory = f"{plan['bytes'] / 1e9:.2f} | {real['bytes'] / 1e9:.2f} ({ratios[1] - 1:+.0%})"
        rows.append(f"| {' | '.join(line['combination'].split())} | {times} | {memory} |")
    return "\n".join(rows) + f"\n\nwithin {WITHIN:.0%} in time and memory: {close} of {len(lines)}"


def read(file: Path) -> list[dict[str, Any]]:
    """The lines that were written before."""
    return [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="?")
    parser.add_argument("--out", type=Path, default=Path("plan.jsonl"))
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--only", type=int, help="the first so-many combinations, to try the program")
    parser.add_argument("--table", action="store_true", help="print the table of the file, and measure nothing")
    parser.add_argument("--part", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        part = dict(options.part)
        print(json.dumps({"predict": predicted, "measure": measured}[part.pop("do")](**part)))
        return
    if not options.table:
        done = {line["combination"] for line in read(options.out)}
        for combination in [" ".join(map(str, one)) for one in COMBINATIONS][: options.only]:
            if combination in done:
                continue
            about = {"data": options.data, "combination": combination, "batch": options.batch_size}
            plan = in_a_process({"do": "predict", **about})
            real = in_a_process(
                {"do": "measure", "data": options.data, "config": plan.pop("config"), "steps": options.steps}
            )
            with options.out.open("a") as file:
                file.write(json.dumps({"combination": combination, "predicted": plan, "measured": real}) + "\n")
            print(table(read(options.out)[-1:]).splitlines()[2], flush=True)
    print(table(read(options.out)))


if __name__ == "__main__":
    main()
