"""Compare masked language modelling with transformers' Trainer and its own collator: speed, loss after same minutes.

Corpus, tokenizer, network, context and batch are the same. The Trainer runs with its defaults. To be fair, it also runs
with selfstudy's learning rate, the same warm-up, and a decay over as many steps as its first run took. One evaluator
scores all sides on one stored set of masks. The program needs ``accelerate``::

    python benchmarks/against_trainer.py CORPUS --out benchmarks/results/trainer

Each run has one JSON file in ``--out``; a recorded run is not repeated. Nothing else should use the cores during a run.
"""

import argparse
import json
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any, cast

import records
import torch
from records import Record, Task
from rich.console import Console
from torch import Tensor
from torch.utils.data import Dataset

from selfstudy import config as cfg
from selfstudy.encoders.text import TextEncoder
from selfstudy.runs.folder import RunFolder
from selfstudy.runs.pretraining import pretrain
from selfstudy.text.batches import TokenRows, Wrap, wrapped
from selfstudy.text.config import TextRunConfig
from selfstudy.text.held_out import measure_held_out
from selfstudy.text.work import TextWork, wrap_of

SIDES = ("trainer", "trainer, our rate", "selfstudy")


def settings_of(facts: Record, folder: str, scratch: Path) -> dict[str, Any]:
    """Return selfstudy's configuration of a run. The other sides take corpus, network and batch from it."""
    return {
        "data": {"path": folder, "cache": str(scratch / "cache"), "context": facts["context"]},
        "method": {"name": "bert"},
        "encoder": {"name": facts["encoder"]},
        "train": {"duration": f"{facts['minutes']} minutes", "seed": facts["seed"], "batch_size": facts["batch_size"]},
    }


class Rows(Dataset[dict[str, Tensor]]):
    """selfstudy's rows, one at a time, in the format of the Trainer; its collator masks them."""

    def __init__(self, rows: TokenRows, wrap: Wrap) -> None:
        self._rows, self._wrap, self._count = rows, wrap, len(rows.cuts)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, item: int) -> dict[str, Tensor]:
        start, length = self._rows.cuts.span(0, item)
        return {"input_ids": wrapped(torch.from_numpy(self._rows.stream.read(start, length)), self._wrap)}


def measure(task: Task, record: Record, *, out: Path, console: Console) -> None:
    """Train one side for the minutes, and score it."""
    with tempfile.TemporaryDirectory(prefix="selfstudy-") as name:
        scratch = Path(name)
        config = cfg.validate(TextRunConfig, settings_of(task.facts, task.folder, scratch))
        if task.facts["side"] == "selfstudy":
            record |= _ours(config, task, scratch, console)
        else:
            steps = [found["steps"] for found in records.load(out) if found["side"] == "trainer" and "steps" in found]
            record |= _theirs(
                config, task, scratch, console, steps=None if task.facts["side"] == "trainer" else steps[0]
            )


def _ours(config: cfg.RunConfig, task: Task, scratch: Path, console: Console) -> Record:
    folder = RunFolder(scratch / "run")
    outcome = pretrain(
        partial(TextWork, task.folder, config), config, folder, resume=False, overwrite=False, console=console
    )
    lines = [json.loads(line) for line in folder.metrics.read_text().splitlines()]
    speeds = sorted(line["tokens_per_second"] for line in lines)
    return {"steps": outcome.steps, "tokens_per_second": speeds[len(speeds) // 2], "held_out": _held_out(folder)}


def _theirs(config: cfg.RunConfig, task: Task, scratch: Path, console: Console, *, steps: int | None) -> Record:
    """Run transformers' Trainer until the time is over; if ``steps`` is given, selfstudy's rate decays over them."""
    import transformers as hf
    from transformers import PreTrainedTokenizerFast

    work = TextWork(task.folder, config, console)
    resolved = work.resolve()
    method = work.build_method(resolved)
    encoder = cast(TextEncoder, method.encoder)
    special = {
        f"{name}_token": work.corpus.tokenizer.id_to_token(getattr(encoder.vocabulary, name))
        for name in ("pad", "cls", "sep", "mask")
    }
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=work.corpus.tokenizer, **special)
    data, _ = work.batches(resolved, work_shard())
    budget = task.facts["minutes"] * 60

    class Clock(hf.TrainerCallback):
        """Stops training when the time is over."""

        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.began = time.perf_counter()

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            control.should_training_stop = time.perf_counter() - self.began >= budget

    optimizer, rate = resolved.optimizer, {}
    if steps is not None:
        warmup = round(optimizer.warmup * steps)
        rate = {"learning_rate": optimizer.lr, "max_steps": steps, "warmup_steps": warmup}
    arguments = hf.TrainingArguments(
        output_dir=str(scratch / "trainer"),
        per_device_train_batch_size=task.facts["batch_size"],
        num_train_epochs=1000,
        save_strategy="no",
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        seed=task.facts["seed"],
        **rate,
    )
    collator = hf.DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.15)
    clock = Clock()
    trainer = hf.Trainer(
        model=encoder.network,
        args=arguments,
        train_dataset=Rows(data, wrap_of(work.corpus)),
        data_collator=collator,
        callbacks=[clock],
    )
    trainer.train()
    seconds, taken = time.perf_counter() - clock.began, trainer.state.global_step
    folder = RunFolder(scratch / "run")
    folder.create()
    measure_held_out(folder, encoder, work.corpus, resolved, console)
    tokens = taken * task.facts["batch_size"] * task.facts["context"]
    return {"steps": taken, "tokens_per_second": tokens / seconds, "held_out": _held_out(folder)}


def _held_out(folder: RunFolder) -> Record:
    """The figures of held-out text, by the names that records have."""
    names = {"nats per token": "nats_per_token", "token accuracy": "accuracy"}
    scores = [json.loads(line) for line in folder.evaluations.read_text().splitlines()]
    return {names[score["probe"]]: score["value"] for score in scores if score["probe"] in names}


def work_shard() -> Any:
    """Return the shard of a single process: the whole batch."""
    from selfstudy.data.batches import Shard

    return Shard()


def table(found: list[Record]) -> str:
    """Return a Markdown table with a row per side."""
    rows = []
    for (side,), group in records.grouped(found, lambda r: (r["side"],)).items():
        losses = [record["held_out"]["nats_per_token"] for record in group if "held_out" in record]
        accuracies = [record["held_out"]["accuracy"] for record in group if "held_out" in record]
        rows.append(
            {
                "side": side,
                "masked loss, nats": records.mean_sd(losses, digits=3),
                "masked accuracy %": records.mean_sd(accuracies),
                "steps": records.middle(group, "steps"),
                "tokens/s": records.middle(group, "tokens_per_second"),
            }
        )
    return f"{records.markdown(rows)}\n\n{records.fine_print(found)}" if rows else "no records"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="folder for the records")
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--encoder", default="modernbert-mini")
    parser.add_argument("--context", type=int, default=128)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--table", action="store_true", help="print the table of the records and run nothing")
    options = parser.parse_args(arguments)
    shared = {
        "encoder": options.encoder,
        "context": options.context,
        "batch_size": options.batch_size,
        "minutes": options.minutes,
        "seed": options.seed,
    }
    tasks = [
        Task(
            f"{side.replace(', ', '-').replace(' ', '-')}-seed{options.seed}",
            {"side": side, **shared},
            str(options.corpus),
        )
        for side in SIDES
    ]
    if not options.table:
        console = Console(highlight=False)
        records.run_all(
            tasks, options.out, lambda task, record: measure(task, record, out=options.out, console=console)
        )
    print(table(records.load(options.out)))


if __name__ == "__main__":
    main()
