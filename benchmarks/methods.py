"""Train every method for the same minutes; compare k-NN and linear probe with raw pixels and the untrained encoder.

CIFAR-10 runs every method; the methods in :data:`REPEATED` run with several seeds. EuroSAT runs only those, with one
seed::

    python benchmarks/methods.py --cifar CIFAR_FOLDER --eurosat EUROSAT_FOLDER --out benchmarks/results/methods
    python benchmarks/methods.py --out benchmarks/results/methods --table

Each folder has ``train/`` and ``test/`` with one sub-folder per class. The test images are used once, by the final
encoder. Each run has one JSON file in ``--out``. A recorded run is not repeated, so you can stop the program and start
it again at any time; delete a file to repeat its run. Nothing else should use the machine's cores during a run.
"""

import argparse
import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import records
from records import PRETRAINED, UNTRAINED, Record, Task
from rich.console import Console

from selfstudy import config as cfg
from selfstudy.images.config import ImageRunConfig
from selfstudy.images.evaluate import open_evaluation
from selfstudy.images.opening import open_source
from selfstudy.images.work import ImageWork
from selfstudy.methods import FAMILIES, available, method_class
from selfstudy.methods.base import Method
from selfstudy.probes import DEFAULT, named
from selfstudy.probes.evaluation import Question, evaluate
from selfstudy.probes.results import Results, Score, scores_in
from selfstudy.runs.folder import RunFolder
from selfstudy.runs.pretraining import pretrain

DATA = {"cifar10": "CIFAR-10", "eurosat": "EuroSAT"}
REPEATED = ("simclr", "moco", "byol", "swav", "dino", "mae", "barlow_twins", "vicreg", "lejepa")
CONVOLUTIONAL = "resnet10t"  # the fastest useful one on a CPU; the CIFAR-10 runs of docs/log.md use it
# Six blocks of width 64: 1/21 of the multiplications per token of vit_tiny_patch16_224. At 32 px, patches of 8 px take
# a fifth of the time of patches of 4 px; the additional steps are worth more than the smaller patches (docs/log.md).
TOKENS, PATCH = "test_vit", 8


def encoder_for(method: type[Method]) -> str:
    """Return the name of the small encoder that suits a method best."""
    return TOKENS if method.reads.tokens else CONVOLUTIONAL


def tasks(options: argparse.Namespace) -> list[Task]:
    """Return all runs. The first seed of all methods comes before the second seed of any method."""
    folders = {"cifar10": options.cifar, "eurosat": options.eurosat}
    return [
        task(data, str(folder), method, seed, options)
        for turn, seed in enumerate(options.seeds)
        for data, folder in folders.items()
        for method in options.only
        if folder is not None and _is_due(data, method, turn)
    ]


def _is_due(data: str, method: str, turn: int) -> bool:
    """Return True if a method has a run on this data with the seed of this turn."""
    repeated = method in REPEATED
    return turn == 0 or repeated if data == "cifar10" else turn == 0 and repeated


def task(data: str, folder: str, method: str, seed: int, options: argparse.Namespace) -> Task:
    """Return one run of a method, with the command line that does the same."""
    cls, lasting, encoder = method_class(method), duration(options), getattr(options, "encoder", None)
    patch = PATCH if cls.reads.tokens and encoder is None else None
    encoder = encoder or encoder_for(cls)
    amount, unit = lasting.split()
    arguments = f"--method {method} --encoder {encoder} --{unit} {amount} --seed {seed}"
    arguments += f" --precision {options.precision}" if options.precision != "auto" else ""
    arguments += f" --set encoder.patch_size={patch}" if patch else ""
    facts = {
        "data": data,
        "method": method,
        "family": cls.family,
        "uses_labels": cls.reads.labels,
        "encoder": encoder,
        "patch_size": patch or "auto",
        "precision": options.precision,
        "seed": seed,
        "duration": lasting,
        "commands": [
            f"selfstudy pretrain {DATA[data]} {arguments} --out RUN",
            f"selfstudy evaluate RUN {DATA[data]}",
        ],
    }
    return Task(f"{data}-{method}-{encoder}-seed{seed}", facts, folder)


def known_scores(found: list[Record], data: str, settings: Record) -> list[Score]:
    """Return the scores of raw pixels on the same data, and of the same untrained encoder, from earlier records."""
    pixels: list[Score] = []
    untrained: list[Score] = []
    for record in (record for record in found if record.get("data") == data):
        scores = [score for line in record.get("scores", []) for score in scores_in(line)]
        pixels = pixels or [score for score in scores if not score.features.startswith((PRETRAINED, UNTRAINED))]
        if _first_encoder(record.get("settings")) == _first_encoder(settings):
            untrained = untrained or [score for score in scores if score.features.startswith(UNTRAINED)]
    return pixels + untrained


def _first_encoder(settings: Record | None) -> Any:
    """Return the settings that determine the initial encoder and its inputs."""
    if settings is None:
        return None
    data = {key: settings["data"][key] for key in ("image_size", "channels", "mean", "std")}
    return settings["encoder"], data, settings["train"]["seed"]


def measure(task: Task, record: Record, *, out: Path, runs: Path, keep: bool, console: Console) -> None:
    """Train and evaluate once, and record the results; a failed run keeps the results that it reached."""
    facts, run = task.facts, RunFolder(runs / task.name)
    settings = {
        "data": {"path": task.folder},
        "method": {"name": facts["method"]},
        "encoder": {"name": facts["encoder"], "patch_size": facts["patch_size"]},
        "train": {"duration": facts["duration"], "seed": facts["seed"], "precision": facts["precision"]},
    }
    shutil.rmtree(run.path, ignore_errors=True)  # a killed run may have left files in the scratch folder
    began = time.perf_counter()
    try:
        config = cfg.validate(ImageRunConfig, settings)
        work = partial(ImageWork, task.folder, config)
        outcome = pretrain(work, config, run, resume=False, overwrite=False, console=console)
        record |= {"steps": outcome.steps, "images": outcome.inputs, "train_seconds": round(outcome.seconds, 1)}
        record["set_up_seconds"] = round(time.perf_counter() - began - outcome.seconds, 1)
        known = known_scores(records.load(out), facts["data"], cfg.read_yaml(run.config))
        scores = evaluated(run, task.folder, known, console)
        record["scores"] = records.recorded(scores)
    finally:
        record |= observed(run)
        record.get("settings", {}).get("data", {}).update(path=DATA[facts["data"]])
        if not keep:
            shutil.rmtree(run.path, ignore_errors=True)


def evaluated(run: RunFolder, data: str, known: list[Score], console: Console) -> Results:
    """The scores of the default probes; those that are known of a baseline are not measured again."""
    probes = named(DEFAULT)
    opened = open_evaluation(run, Question(probes, data), console)
    return evaluate(opened, probes, console=console, known=known)


def observed(run: RunFolder) -> Record:
    """Return the facts in a run's own files: resolved settings, last step, speed, health."""
    found: Record = {}
    if run.config.is_file():
        found["settings"] = cfg.read_yaml(run.config)
    lines = _lines(run.metrics)
    if lines:
        speeds = [line["images_per_second"] for line in lines]
        found |= {"steps": lines[-1]["step"], "images_per_second": round(statistics.median(speeds), 1)}
    health = _lines(run.health)
    if health:
        found["health"] = health[-1]
    return found


def _lines(file: Path) -> list[Record]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.is_file() else []


def table(found: list[Record]) -> str:
    """Return a Markdown table per data set."""
    parts = [_table_of(name, [r for r in found if r["data"] == key]) for key, name in DATA.items()]
    return "\n\n".join(part for part in parts if part) or "no records"


def _table_of(name: str, found: list[Record]) -> str:
    if not found:
        return ""
    groups = records.grouped(found, lambda r: (FAMILIES.index(r["family"]), r["method"], r["encoder"], r["duration"]))
    one_budget = len({record["duration"] for record in found}) == 1
    budget = f", {found[0]['duration']} of training each" if one_budget else ""
    rows = [_pixels_row(found), *(_row(group, with_budget=not one_budget) for group in groups.values())]
    return f"### {name}{budget}\n\n{records.markdown(rows)}\n\n{records.fine_print(found)}"


def _row(group: list[Record], *, with_budget: bool) -> dict[str, str]:
    """Return the table row of one method with one encoder, over its seeds."""
    first, health = group[0], [record["health"]["verdict"] for record in group if "health" in record]
    notes = ["learns from labels"] * first["uses_labels"] + [first["duration"]] * with_budget
    seeds = ", ".join(str(record["seed"]) for record in sorted(group, key=lambda r: r["seed"]))
    return {
        "family": first["family"],
        "method": " · ".join([first["method"], *notes]),
        "encoder": _encoder(first),
        "seeds": seeds,
        "k-NN %": "; ".join(_found(group, PRETRAINED, "knn")),
        "linear %": records.mean_sd(records.accuracies(group, PRETRAINED, "linear")),
        "untrained k-NN %": records.mean_sd(records.accuracies(group, UNTRAINED, "knn")),
        "untrained linear %": records.mean_sd(records.accuracies(group, UNTRAINED, "linear")),
        "precision": ", ".join(dict.fromkeys(precision(record) for record in group)),
        "steps": records.middle(group, "steps"),
        "images/s": records.middle(group, "images_per_second"),
        "health": records.counts(health),
    }


def precision(record: Record) -> str:
    """Return the precision of a run."""
    return str(record.get("settings", {}).get("train", {}).get("precision", record.get("precision", records.NONE)))


def _encoder(record: Record) -> str:
    """Return the name of the encoder, with the size of its patches if the benchmark set it."""
    patch = record.get("patch_size", "auto")
    return str(record["encoder"]) + ("" if patch == "auto" else f", {patch} px patches")


def _found(group: list[Record], features: str, probe: str) -> Iterator[str]:
    """Yield the accuracy, and a note about failed runs."""
    values, note = records.accuracies(group, features, probe), records.failure_note(group)
    if values or not note:
        yield records.mean_sd(values)
    if note:
        yield note


def _pixels_row(found: list[Record]) -> dict[str, str]:
    """Return the row of raw pixels. Every evaluation measures them again, with the same result."""
    row = dict.fromkeys(_row(found[:1], with_budget=False), records.NONE)
    pixels = [
        score
        for record in found
        for score in record.get("scores", [])
        if not score["features"].startswith((PRETRAINED, UNTRAINED))
    ]
    row |= {"family": "none", "method": pixels[0]["features"] if pixels else "raw pixels"}
    for column, probe in (("k-NN %", "knn"), ("linear %", "linear")):
        row[column] = records.mean_sd([score["accuracy"] for score in pixels if score["probe"] == probe][:1])
    return row


def duration(options: argparse.Namespace) -> str:
    """Return the budget of every run in the format of the configuration."""
    return f"{options.steps} steps" if options.steps else f"{options.minutes:g} minutes"


def names(text: str) -> list[str]:
    """Return the names in a list separated by commas."""
    return [name.strip() for name in text.split(",") if name.strip()]


def numbers(text: str) -> list[int]:
    """Return the whole numbers in a list separated by commas."""
    return [int(name) for name in names(text)]


def add_common_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that the programs of this folder share."""
    parser.add_argument("--out", type=Path, required=True, help="folder for the records")
    parser.add_argument("--minutes", type=float, default=3, help="minutes of training per run")
    parser.add_argument("--steps", type=int, help="steps per run instead of minutes, to try the program")
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="auto", help="precision of every run")
    parser.add_argument("--only", type=names, help="METHOD,METHOD,...; default: all")
    parser.add_argument("--runs", type=Path, help="scratch folder for run folders; default: a temporary folder")
    parser.add_argument("--keep", action="store_true", help="keep the run folders in --runs")
    parser.add_argument("--table", action="store_true", help="print the table of the records and run nothing")


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Return the options, checked before anything is run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cifar", type=Path, help="CIFAR-10 as train/ and test/ with class sub-folders")
    parser.add_argument("--eurosat", type=Path, help="EuroSAT as train/ and test/ with class sub-folders")
    parser.add_argument("--seeds", type=numbers, default=[0, 1, 2], help="methods that run once use the first seed")
    parser.add_argument("--encoder", help="one encoder for all methods, instead of the best one for each")
    add_common_options(parser)
    options = parser.parse_args(arguments)
    known = [name for name in available() if method_class(name).reads.modality == "images"]
    options.only = options.only or known
    if unknown := [name for name in options.only if name not in known]:
        parser.error(f"unknown method {', '.join(unknown)}; known: {', '.join(known)}")
    if not options.table and options.cifar is None and options.eurosat is None:
        parser.error("--cifar or --eurosat is needed")
    if options.keep and options.runs is None:
        parser.error("--keep needs --runs")
    return options


def main(arguments: list[str] | None = None) -> None:
    options = parse(arguments)
    if options.table:
        print(table(records.load(options.out)))
        return
    for folder in filter(None, (options.cifar, options.eurosat)):
        open_source(folder, labels=True, split="test")  # otherwise a wrong folder counts as a failure of every method
    console = Console(highlight=False)
    with tempfile.TemporaryDirectory(prefix="selfstudy-") as scratch:
        runs = options.runs or Path(scratch)
        failures = records.run_all(
            tasks(options),
            options.out,
            lambda task, record: measure(task, record, out=options.out, runs=runs, keep=options.keep, console=console),
        )
    print(f"all runs are recorded in {options.out}; {failures} failed just now")


if __name__ == "__main__":
    main()
