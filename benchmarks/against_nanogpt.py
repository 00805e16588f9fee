"""Compare with nanoGPT on tiny Shakespeare: same settings and same minutes, each validation character predicted once.

nanoGPT runs without changes, from a checkout of its repository, with the CPU command of its README::

    git clone https://github.com/karpathy/nanoGPT
    python benchmarks/against_nanogpt.py input.txt --nanogpt nanoGPT --out benchmarks/results/nanogpt

``input.txt`` is tiny Shakespeare, 1,115,394 characters. Both sides train on the first nine tenths. nanoGPT's command
takes 2,000 steps and ends before the minutes are over. A third side, ``nanogpt, longer``, takes as many steps as fit
into the minutes, and its learning rate falls over all of them.

The seed is written in nanoGPT's code, so each seed runs a copy with that line changed. Each run has one JSON file in
``--out``; a recorded run is not repeated. Nothing else should use the machine's cores during a run.

The speed of a machine can change between two runs by more than the two sides differ. So speeds are compared in turns:
each turn runs a few hundred steps of every side, one after the other, and a ratio compares two sides of one turn.
"""

import argparse
import json
import math
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import records
import torch
import torch.nn.functional as F
from records import Record, Task
from rich.console import Console
from torch import Tensor

import selfstudy

BLOCK, BATCH, STEPS = 64, 12, 2000
TURN_STEPS, WARM_STEPS = 250, 50  # steps per side and turn; the first WARM_STEPS of them are not counted
# The CPU command of nanoGPT's README.
COMMAND = (
    "config/train_shakespeare_char.py --device=cpu --compile=False --eval_iters=20 --log_interval=1"
    f" --block_size={BLOCK} --batch_size={BATCH} --n_layer=4 --n_head=4 --n_embd=128 --dropout=0.0"
)
EQUAL = {
    "encoder": "gpt2-tiny",
    "batch_size": BATCH,
    "context": BLOCK,
    "tokenizer": "char",
    "precision": "bf16",
    "set": {
        "encoder.depth": 4,
        "encoder.heads": 4,
        "method.across_documents": True,
        "optimizer.lr": 4e-3,
        "optimizer.beta2": 0.99,
        "optimizer.final_lr": 0.05,
        "train.compile": True,
    },
}
"""The network, batch and context of nanoGPT; learning rate, precision and compiled layers are selfstudy's."""
_INPUT = "data/shakespeare_char/input.txt"
SIDES = {"nanogpt": False, "selfstudy": True, "nanogpt, compiled": True, "selfstudy, not compiled": False}
"""The sides of a turn in order; True if the side compiles."""


def tasks(options: argparse.Namespace) -> list[Task]:
    """Return all runs: the turns, then both kinds with every seed. Each run of nanoGPT comes right before ours."""
    sides = {"equal-settings": ("nanogpt", "selfstudy"), "equal-minutes": ("nanogpt, longer", "selfstudy")}
    found = []
    if "turns" in options.kinds:
        numbers = range(options.turns)
        found = [Task(f"turn{number}", {"kind": "turns", "turn": number}, str(options.text)) for number in numbers]
    for kind in (kind for kind in options.kinds if kind != "turns"):
        for seed in options.seeds:
            for side in sides[kind]:
                facts = {"kind": kind, "side": side, "seed": seed, "minutes": options.minutes}
                found.append(Task(f"{kind}-{side.replace(', ', '-')}-seed{seed}", facts, str(options.text)))
    return found


def measure(task: Task, record: Record, *, nanogpt: Path, console: Console) -> None:
    """Train one side and predict all validation characters; for a turn, time all sides."""
    text = Path(task.folder).read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory(prefix="selfstudy-") as scratch:
        if task.facts["kind"] == "turns":
            record["milliseconds"] = _turn(text, Path(scratch), nanogpt)
            console.print(record["milliseconds"], highlight=False)
            return
        run = _selfstudy if task.facts["side"] == "selfstudy" else _nanogpt
        record |= run(text, task.facts, Path(scratch), nanogpt, console)


def _turn(text: str, scratch: Path, nanogpt: Path) -> dict[str, float]:
    """Return the median milliseconds of a step of every side; each side runs in its own process."""
    folder, found = _prepared(text, scratch, nanogpt), {}
    for number, (side, compiled) in enumerate(SIDES.items()):
        if side.startswith("nanogpt"):
            _, log = _train_nanogpt(folder, TURN_STEPS, compiled=compiled)
            found[side] = _middle_step(log[WARM_STEPS:]) * 1e3
        else:
            command = [sys.executable, __file__, str(folder / _INPUT), "--steps-into", str(scratch / str(number))]
            subprocess.run([*command, *["--compiled"] * compiled], check=True, capture_output=True)
            found[side] = _middle_of_ours(scratch / str(number)) * 1e3
    return found


def _steps_of_ours(text: Path, out: Path, *, compiled: bool) -> None:
    """Run the steps of one turn of selfstudy in this process."""
    settings = EQUAL["set"] | {"train.compile": compiled, "data.cache": str(out.with_name("cache"))}
    selfstudy.pretrain(text, method="gpt", out=out, **EQUAL | {"steps": TURN_STEPS, "set": settings})


def _middle_of_ours(run: Path) -> float:
    """Return the median seconds of a step by the times in the log, which leave nothing out."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    lines = [line for line in lines if line["step"] > WARM_STEPS]
    return statistics.median(
        (after["time"] - before["time"]) / (after["step"] - before["step"]) for before, after in pairwise(lines)
    )


def _prepared(text: str, scratch: Path, nanogpt: Path, *, seed: int = 0) -> Path:
    """Return a copy of nanoGPT's folder that has the text and the seed."""
    folder = scratch / "nanoGPT"
    shutil.copytree(nanogpt, folder, ignore=shutil.ignore_patterns(".git"))
    train = (folder / "train.py").read_text(encoding="utf-8")
    assert "torch.manual_seed(1337 + seed_offset)" in train
    (folder / "train.py").write_text(train.replace("1337 + seed_offset", f"{1337 + seed} + seed_offset"))
    (folder / _INPUT).write_text(text, encoding="utf-8")
    prepare = [sys.executable, "prepare.py"]
    subprocess.run(prepare, cwd=(folder / _INPUT).parent, check=True, capture_output=True)
    return folder


def _nanogpt(text: str, facts: Record, scratch: Path, nanogpt: Path, console: Console) -> Record:
    """Run nanoGPT's own program in a copy of its folder."""
    folder = _prepared(text, scratch, nanogpt, seed=facts["seed"])
    steps = STEPS
    if facts["kind"] == "equal-minutes":  # as many steps as fit, estimated from the speed of 200
        seconds, _ = _train_nanogpt(folder, 200)
        steps = int(200 * facts["minutes"] * 60 / seconds) // 250 * 250  # it evaluates and saves every 250
    seconds, log = _train_nanogpt(folder, steps)
    console.print(f"nanoGPT  {steps} steps in {seconds:.0f} s", highlight=False)
    return {
        "steps": steps,
        "seconds": seconds,
        "tokens_per_second": BATCH * BLOCK / _middle_step(log),
        "nats_per_character": _of_nanogpt(folder, text),
        "last_line": log[-1],
    }


def _train_nanogpt(folder: Path, steps: int, *, compiled: bool = False) -> tuple[float, list[str]]:
    """Return the seconds from its first to its last step, including evaluations, and the lines that it printed."""
    more = f"--max_iters={steps} --lr_decay_iters={steps} --always_save_checkpoint=True"
    words = f"{COMMAND} {more}".replace("--compile=False", f"--compile={compiled}").split()
    command = [sys.executable, "-u", "train.py", *words]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    began, lines = None, []
    for line in process.stdout:
        lines.append(line.strip())
        if line.startswith("iter 0:"):
            began = time.perf_counter()
    if process.wait() or began is None:
        raise RuntimeError("\n".join(lines[-5:]))
    return time.perf_counter() - began, lines


def _middle_step(log: list[str]) -> float:
    """Return the median seconds of a step by nanoGPT's own clock, which leaves out its evaluations."""
    return (
        statistics.median(float(line.split("time ")[1].split("ms")[0]) for line in log if line.startswith("iter "))
        / 1e3
    )


def _of_nanogpt(folder: Path, text: str) -> float:
    """Return the loss of its last checkpoint on every validation character except the first."""
    sys.path.insert(0, str(folder))
    try:
        from model import GPT, GPTConfig  # type: ignore[import-not-found]  # nanoGPT's
    finally:
        sys.path.pop(0)
    saved = torch.load(folder / "out-shakespeare-char" / "ckpt.pt", map_location="cpu", weights_only=False)
    model = GPT(GPTConfig(**saved["model_args"]))
    model.load_state_dict(saved["model"])
    model.eval()
    characters = sorted(set(text))
    number = {character: i for i, character in enumerate(characters)}
    ids = torch.tensor([number[character] for character in text[int(len(text) * 0.9) :]])

    def logits(rows: Tensor) -> Tensor:
        return model(rows, rows)[0]  # given targets, it returns the logits of all positions

    return nats(logits, ids)


def _selfstudy(text: str, facts: Record, scratch: Path, nanogpt: Path, console: Console) -> Record:
    """Run selfstudy's command on the same text."""
    (scratch / "input.txt").write_text(text, encoding="utf-8")
    in_minutes = facts["kind"] == "equal-minutes"
    given: dict[str, Any] = {"minutes": facts["minutes"]} if in_minutes else EQUAL | {"steps": STEPS}
    settings = given.get("set", {}) | {"data.cache": str(scratch / "cache"), "data.held_out": 0.1}
    out, arguments = scratch / "run", given | {"seed": facts["seed"], "set": settings}
    run = selfstudy.pretrain(scratch / "input.txt", method="gpt", out=out, console=console, **arguments)
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    scores = [json.loads(line) for line in (out / "evaluations.jsonl").read_text().splitlines()]
    bits = next(score["value"] for score in scores if score["probe"] == "bits per byte")
    validation = text[int(len(text) * 0.9) :]
    found = {
        "steps": lines[-1]["step"],
        "seconds": lines[-1]["time"] - lines[0]["time"],
        "nats_per_character": bits * math.log(2) * len(validation.encode()) / len(validation),
    }
    if facts["kind"] == "equal-settings":
        found["tokens_per_second"] = BATCH * BLOCK / _middle_of_ours(out)
        encoder = run.encoder
        ids = torch.tensor(encoder.tokenizer.encode(validation, add_special_tokens=False).ids)
        assert len(ids) == len(validation)
        found["nats_per_character"] = nats(lambda rows: encoder.encoder.logits(encoder.encoder.states(rows)), ids)
    return found


def nats(logits: Callable[[Tensor], Tensor], ids: Tensor) -> float:
    """Return the mean loss in nats of all ids (N,) except the first.

    The ids are cut into consecutive rows. An id is predicted from the ids before it in its row, at most ``BLOCK``.
    """
    total, whole = 0.0, (len(ids) - 1) // BLOCK * BLOCK
    rows = list(ids[:whole].view(-1, BLOCK).split(64)) + [ids[whole:-1][None]]
    answers = list(ids[1 : whole + 1].view(-1, BLOCK).split(64)) + [ids[whole + 1 :][None]]
    with torch.inference_mode():
        for given, wanted in zip(rows, answers, strict=True):
            if given.numel():
                total += float(F.cross_entropy(logits(given).flatten(0, 1).double(), wanted.flatten(), reduction="sum"))
    return total / (len(ids) - 1)


def table(found: list[Record]) -> str:
    """Return a Markdown table with a row per kind and side, and a table with the speeds of the turns."""
    rows, timed = [], [record["milliseconds"] for record in found if "milliseconds" in record]
    runs = [record for record in found if record["kind"] != "turns"]
    for (kind, side), group in records.grouped(runs, lambda r: (r["kind"], r["side"])).items():
        losses = [record["nats_per_character"] for record in group if "nats_per_character" in record]
        rows.append(
            {
                "kind": kind,
                "side": side,
                "seeds": ", ".join(str(record["seed"]) for record in group),
                "nats per character": records.mean_sd(losses, digits=3),
                "bits": records.mean_sd([loss / math.log(2) for loss in losses], digits=3),
                "steps": records.middle(group, "steps"),
                "tokens/s": records.middle(group, "tokens_per_second"),
            }
        )
    tables = [records.markdown(lines) for lines in (rows, _of_turns(timed)) if lines]
    return "\n\n".join([*tables, records.fine_print(found)]) if tables else "no records"


def _of_turns(turns: list[dict[str, float]]) -> list[dict[str, str]]:
    """Return a row per side: its speed, and its speed divided by that of nanoGPT's CPU command in the same turn."""
    rows = []
    for side in SIDES if turns else ():
        times = [turn[side] for turn in turns]
        ratios = [turn["nanogpt"] / turn[side] for turn in turns]
        rows.append(
            {
                "side": side,
                "turns": str(len(turns)),
                "ms a step": f"{statistics.median(times):.1f} ({min(times):.1f} to {max(times):.1f})",
                "tokens/s": f"{1e3 * BATCH * BLOCK / statistics.median(times):,.0f}",
                "times nanogpt": f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
            }
        )
    return rows


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", type=Path, help="tiny Shakespeare, in one file")
    parser.add_argument("--nanogpt", type=Path, help="checkout of nanoGPT")
    parser.add_argument("--out", type=Path, help="folder for the records")
    parser.add_argument("--minutes", type=float, default=3)
    parser.add_argument("--seeds", type=lambda text: [int(part) for part in text.split(",")], default=[0, 1, 2])
    kinds = ["turns", "equal-settings", "equal-minutes"]
    parser.add_argument("--kinds", type=lambda text: text.split(","), default=kinds, help=f"any of {', '.join(kinds)}")
    parser.add_argument("--turns", type=int, default=10, help="number of turns in the comparison of speeds")
    parser.add_argument("--table", action="store_true", help="print the table of the records and run nothing")
    parser.add_argument("--steps-into", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--compiled", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.steps_into:
        _steps_of_ours(options.text, options.steps_into, compiled=options.compiled)
        return
    if not (options.nanogpt and options.out):
        parser.error("give --nanogpt and --out")
    if not options.table:
        console = Console(highlight=False)
        records.run_all(
            tasks(options),
            options.out,
            lambda task, record: measure(task, record, nanogpt=options.nanogpt.resolve(), console=console),
        )
    print(table(records.load(options.out)))


if __name__ == "__main__":
    main()
