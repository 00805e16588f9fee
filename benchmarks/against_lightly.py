"""Compare six methods with LightlySSL 1.6: same minutes, same encoder, same images, same evaluation.

Lightly trains as its own documentation says (``lightly_methods.py``), with its transforms and two loading workers. With
``--views selfstudy`` it gets the views and the loader of selfstudy; then only method and recipe differ.
``benchmarks/README.md`` describes the environment that it needs::

    benchmarks/.venv/bin/python benchmarks/against_lightly.py --data CIFAR_FOLDER --out benchmarks/results/lightly
    python benchmarks/against_lightly.py --out benchmarks/results/lightly --table

Records, resuming and the table work as in ``methods.py``. The minutes count training only. Before training selfstudy
decodes all images once; the column "set-up s" gives that time. Lightly decodes while it trains, so it has none.
"""

import argparse
import math
import random
import shutil
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import records
import torch
from records import PRETRAINED, UNTRAINED, Record, Task
from rich.console import Console
from torch import Tensor

import methods
from selfstudy import config as cfg
from selfstudy.data.batches import micro_batches
from selfstudy.data.order import EpochOrder
from selfstudy.encoders.attention import spell_out_attention
from selfstudy.encoders.store import save_encoder
from selfstudy.encoders.timm import TimmEncoder, build_encoder
from selfstudy.errors import TrainingError
from selfstudy.images.batches import TrainingData, render
from selfstudy.images.config import ImageRunConfig
from selfstudy.images.resolve import resolve
from selfstudy.images.scan import Data
from selfstudy.images.work import open_data
from selfstudy.machine.allocator import keep_freed_memory
from selfstudy.machine.devices import best_device
from selfstudy.methods import available, method_class
from selfstudy.ops.duration import Duration
from selfstudy.ops.random import initial_seed
from selfstudy.probes.results import Score
from selfstudy.runs.folder import RunFolder
from selfstudy.runs.resolved import Resolved
from selfstudy.train.clock import Clock
from selfstudy.views.spec import View

METHODS = ("simclr", "byol", "barlow_twins", "swav", "dino", "mae")
OURS = "selfstudy"
SIDES = (OURS, "example", "cifar10")  # selfstudy, and the two recipes that lightly documents
WITHOUT_BENCHMARK = ("mae",)  # lightly's CIFAR-10 benchmark does not contain it
_WORKERS = 2


class Trained(NamedTuple):
    """The result of training a peer: steps, images, seconds, and the last loss."""

    steps: int
    images: int
    seconds: float
    loss: float


def tasks(options: argparse.Namespace) -> list[Task]:
    """Return all runs. The sides of a method run one after the other, so that the machine is in the same state."""
    return [
        _task(options, method, side, seed)
        for seed in options.seeds
        for method in options.only
        for side in options.sides
        if not (side == "cifar10" and method in WITHOUT_BENCHMARK)
    ]


def _task(options: argparse.Namespace, method: str, side: str, seed: int) -> Task:
    """Return one run. The side of selfstudy always uses selfstudy's views; ``options.views`` is for lightly only."""
    ours = methods.task("cifar10", str(options.data), method, seed, options)
    views = OURS if side == OURS else options.views
    facts = {**ours.facts, "side": side, "views": views}
    if side != OURS:
        amount, unit = facts["duration"].split()
        what = f"--only {method} --sides {side} --views {views} --{unit} {amount} --seeds {seed}"
        what += f" --precision {options.precision}" if options.precision != "auto" else ""
        facts["commands"] = [f"benchmarks/against_lightly.py --data {methods.DATA['cifar10']} {what} --out RESULTS"]
    who = OURS if side == OURS else f"lightly-{side}-{views}_views"
    return Task(f"{method}-{who}-seed{seed}", facts, ours.folder)


def measure(task: Task, record: Record, *, out: Path, runs: Path, keep: bool, console: Console) -> None:
    """Train one side and evaluate it."""
    began = time.perf_counter()
    keep_freed_memory()  # a setting of the whole process: it would stay on for lightly too, and it makes lightly faster
    if task.facts["side"] == OURS:
        methods.measure(task, record, out=out, runs=runs, keep=keep, console=console)
    else:
        _measure_peer(task, record, out=out, runs=runs, keep=keep, console=console)
    record["seconds"] = round(time.perf_counter() - began, 1)


def _measure_peer(task: Task, record: Record, *, out: Path, runs: Path, keep: bool, console: Console) -> None:
    """Train lightly's side, save its encoder in selfstudy's format, and evaluate it."""
    import lightly_methods as peers

    facts, run = task.facts, RunFolder(runs / task.name)
    recipe = peers.RECIPES[facts["method"], facts["side"]]
    record |= {"batch_size": recipe.batch_size, "lightly": version("lightly")}
    opened, resolved = _prepare(task, console)
    known: list[Score] = []
    torch.manual_seed(initial_seed(facts["seed"]))  # the initial weights of selfstudy's run with this seed
    encoder = build_encoder(resolved.inputs.encoder)
    _seed_everything(facts["seed"])
    peer = recipe.method(encoder, recipe)
    normalization = peers.NORMALIZATION
    if facts["views"] == OURS:
        normalization = resolved.inputs.mean, resolved.inputs.std
        batches = our_batches(opened, resolved, recipe.batch_size, normalization)
        peer.to(memory_format=torch.channels_last)  # as selfstudy's loop does
        # inputs and initial encoder are the same as on selfstudy's side
        settings = resolved.config.model_dump(mode="json")
        settings["encoder"]["stem"] = encoder.description["stem"]
        known = methods.known_scores(records.load(out), "cifar10", settings)
    else:
        folder = Path(task.folder) / "train"
        batches = peers.batches(folder, recipe, resolved.inputs.size[0], workers=_WORKERS)
    images, half = len(opened.scan.good), facts["precision"] == "bf16"
    record["precision"] = "bf16" if half else "fp32"
    if half:
        spell_out_attention(peer)  # as selfstudy's runs do: otherwise bfloat16 would make it slower
    trained = train(peer, batches, facts["duration"], images=images, batch_size=recipe.batch_size, half=half)
    record |= {"steps": trained.steps, "images": trained.images, "loss": trained.loss}
    record["train_seconds"] = round(trained.seconds, 1)
    try:
        _save(encoder, run, normalization, facts)
        results = methods.evaluated(run, task.folder, known, console)
        record["scores"] = records.recorded(results)
    finally:
        if not keep:
            shutil.rmtree(run.path, ignore_errors=True)


def _prepare(task: Task, console: Console) -> tuple[Data, Resolved]:
    """Return the scanned images and selfstudy's settings for the method: encoder, image size, views, normalisation."""
    facts = task.facts
    held = {} if facts["views"] == OURS else {"cache_gigabytes": 0}  # lightly reads the files itself
    settings = {
        "data": {"path": task.folder, **held},
        "method": {"name": facts["method"]},
        "encoder": {"name": facts["encoder"], "patch_size": facts["patch_size"]},
        "train": {"duration": facts["duration"], "seed": facts["seed"]},
    }
    config = cfg.validate(ImageRunConfig, settings)
    opened = open_data(task.folder, config.data, console)
    return opened, resolve(config, opened.scan, method_class(facts["method"]))


def _seed_everything(seed: int) -> None:
    """Seed the three generators that lightly draws from."""
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)


def our_batches(
    opened: Data, resolved: Resolved, batch_size: int, normalization: tuple[list[float], list[float]]
) -> Iterator[list[Tensor]]:
    """Yield batches of selfstudy's views of a method, without draws and labels, rendered on the CPU, without end."""
    specs = [spec for spec in resolved.inputs.specs if isinstance(spec, View)]
    data = TrainingData(
        EpochOrder(resolved.train.seed, len(opened.scan.good), batch_size),
        specs,
        images=opened.scan.images,
        source=opened.source,
        indices=opened.scan.good.tolist(),
        channels=opened.scan.channels,
    )
    for crops in micro_batches(data, first_step=0, workers=0):
        yield render(crops, specs, normalization, torch.device("cpu"))


def train(
    peer: Any, batches: Iterator[list[Tensor]], lasting: str, *, images: int, batch_size: int, half: bool = False
) -> Trained:
    """Train a peer for the budget, with the clock of selfstudy's loop.

    Args:
        peer: a module that returns a loss for (views, fraction) and has an optimizer; see ``lightly_methods.Peer``.
        batches: the views of one batch each.
        lasting: the budget, ``"3 minutes"`` or ``"20 steps"``.
        images: the number of images in the data set.
        batch_size: the number of images per batch.
        half: autocast to bfloat16, including the loss, as Lightning's ``bf16-mixed`` does.

    Raises:
        TrainingError: the loss is not finite.
    """
    device = torch.device(best_device("auto")[0])
    peer.to(device).train()
    optimizer = peer.optimizer()
    first_rate, steps, loss = optimizer.param_groups[0]["lr"], 0, math.nan
    budget = Duration.parse(lasting)
    clock = Clock.of(budget, steps_per_epoch=max(1, images // batch_size), batch_size=batch_size)
    while not clock.is_over(progress := clock.progress(steps)):
        optimizer.param_groups[0]["lr"] = first_rate * peer.learning_rate(progress.fraction)
        views = [view.to(device) for view in next(batches)]
        with torch.autocast(device.type, torch.bfloat16, enabled=half):
            result = peer(views, progress.fraction)
        loss = float(result.detach())
        if not math.isfinite(loss):
            raise TrainingError(f"the loss became {loss} at step {steps + 1}")
        result.backward()
        peer.before_step(progress.fraction)
        optimizer.step()
        optimizer.zero_grad()
        steps += 1
    return Trained(steps, steps * batch_size, clock.elapsed_seconds, loss)


def _save(encoder: TimmEncoder, run: RunFolder, normalization: tuple[list[float], list[float]], facts: Record) -> None:
    """Write the encoder in the format of a selfstudy run folder."""
    mean, std = normalization
    plain = encoder.cpu().to(memory_format=torch.contiguous_format)
    extra = {"weights": "student", "method": f"lightly {facts['side']} {facts['method']}", "seed": facts["seed"]}
    shutil.rmtree(run.path, ignore_errors=True)
    save_encoder(plain, run.encoder, mean=mean, std=std, extra=extra)


def table(found: list[Record]) -> str:
    """Return a Markdown table with one row per method and side."""
    if not found:
        return "no records"
    groups = records.grouped(
        found,
        lambda r: (METHODS.index(r["method"]), r["encoder"], r["duration"], SIDES.index(r["side"]), r["views"]),
    )
    rows = [_row(group) for group in groups.values()]
    return f"### CIFAR-10\n\n{records.markdown(rows)}\n\n{records.fine_print(found)}"


def _row(group: list[Record]) -> dict[str, str]:
    """Return the table row of one side of a method, over its seeds."""
    first, ours = group[0], group[0]["side"] == OURS
    knn, note = records.mean_sd(records.accuracies(group, PRETRAINED, "knn")), records.failure_note(group)
    speeds = [{"rate": r["images"] / r["train_seconds"]} for r in group if r.get("train_seconds")]
    set_up = [{"seconds": r["set_up_seconds"]} for r in group if "set_up_seconds" in r]
    return {
        "method": first["method"],
        "encoder": first["encoder"],
        "by": OURS if ours else f"lightly {group[-1].get('lightly', '')}, {first['side']}",
        "views": first["views"],
        "precision": ", ".join(dict.fromkeys(methods.precision(record) for record in group)),
        "budget": first["duration"],
        "seeds": ", ".join(str(seed) for seed in sorted(record["seed"] for record in group)),
        "k-NN %": "; ".join(part for part in (knn, note) if part),
        "linear %": records.mean_sd(records.accuracies(group, PRETRAINED, "linear")),
        "untrained k-NN %": records.mean_sd(records.accuracies(group, UNTRAINED, "knn")),
        "steps": records.middle(group, "steps"),
        "images/s": records.middle(speeds, "rate"),
        "set-up s": records.middle(set_up, "seconds"),
    }


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Return the options, checked before anything is run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="CIFAR-10 as train/ and test/ with class sub-folders")
    parser.add_argument("--seeds", type=methods.numbers, default=[0])
    parser.add_argument("--sides", type=methods.names, default=list(SIDES), help=f"any of {', '.join(SIDES)}")
    parser.add_argument(
        "--views", choices=("lightly", OURS), default="lightly", help="views that lightly is trained on"
    )
    methods.add_common_options(parser)
    options = parser.parse_args(arguments)
    options.only = options.only or [name for name in METHODS if name in available()]
    for given, known in ((options.only, METHODS), (options.sides, SIDES)):
        if unknown := [name for name in given if name not in known]:
            parser.error(f"unknown {', '.join(unknown)}; known: {', '.join(known)}")
    if not options.table and (options.data is None or not (options.data / "train").is_dir()):
        parser.error("--data must be a folder with train/ and test/")
    if options.keep and options.runs is None:
        parser.error("--keep needs --runs")
    return options


def main(arguments: list[str] | None = None) -> None:
    options = parse(arguments)
    if options.table:
        print(table(records.load(options.out)))
        return
    with tempfile.TemporaryDirectory(prefix="selfstudy-") as scratch:
        how = partial(
            measure,
            out=options.out,
            runs=options.runs or Path(scratch),
            keep=options.keep,
            console=Console(highlight=False),
        )
        failures = records.run_all(tasks(options), options.out, how)
    print(f"all runs are recorded in {options.out}; {failures} failed just now")


if __name__ == "__main__":
    main()
