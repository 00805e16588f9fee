"""Measure frozen probes after in-domain pretraining from random weights: bert, then simcse from it, without labels.

The folder has a sub-folder per data set with ``train.tsv`` and ``test.tsv``; a line is ``label TAB text``. The corpus
is all train texts together, plus the files in ``--more``. Only the probes read labels::

    python benchmarks/text_probes.py TEXTS --more REVIEWS --work SCRATCH --out benchmarks/results/text_probes

Each stage has one JSON file in ``--out``; a recorded stage is not repeated. Nothing else should use the cores.
"""

import argparse
import shutil
from pathlib import Path

import records
from records import PRETRAINED, UNTRAINED, Record, Task
from rich.console import Console

import selfstudy
from selfstudy.config import with_overrides


def gather(files: list[Path], target: Path) -> None:
    """Copy all training texts into one folder."""
    target.mkdir(parents=True, exist_ok=True)
    for file in files:
        shutil.copyfile(file, target / f"{file.parent.name}-{file.name}")


def measure(task: Task, record: Record, *, work: Path, minutes: dict[str, float], console: Console) -> None:
    """Train one stage, and run the probes on every data set."""
    method, begin, out = task.facts["method"], task.facts["begin"], work / task.name
    settings = [f"data.cache={work / 'cache'}", "data.documents=record", *task.facts["settings"]]
    if begin:
        settings.append(f"encoder.name={work / begin / 'encoder'}")
    run = selfstudy.pretrain(
        work / "corpus",
        config=with_overrides({}, settings),
        method=method,
        minutes=minutes[method],
        out=out,
        overwrite=out.exists(),
        seed=task.facts["seed"],
        console=console,
    )
    record["scores"] = [
        {"data": data.name, **score}
        for data in sorted(Path(task.folder).iterdir())
        for score in records.recorded(run.evaluate(data / "train.tsv", test=data / "test.tsv"))
    ]


def table(found: list[Record]) -> str:
    """Return a Markdown table of the linear probe, with a row per stage and data set."""
    rows = []
    for record in found:
        for data in dict.fromkeys(score["data"] for score in record.get("scores", [])):
            linear = {
                score["features"]: score["accuracy"]
                for score in record["scores"]
                if score["data"] == data and score["probe"] == "linear"
            }
            bags = next(value for name, value in linear.items() if name not in (PRETRAINED, UNTRAINED))
            rows.append(
                {
                    "stage": record["method"],
                    "data": data,
                    "TF-IDF": f"{bags:.1f}",
                    "untrained": f"{linear[UNTRAINED]:.1f}",
                    "pretrained": f"{linear[PRETRAINED]:.1f}",
                    "gain": f"{linear[PRETRAINED] - linear[UNTRAINED]:+.1f}",
                }
            )
    return f"{records.markdown(rows)}\n\n{records.fine_print(found)}" if rows else "no records"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts", type=Path)
    parser.add_argument("--more", type=Path, nargs="*", default=[], help="more tables of training text")
    parser.add_argument("--work", type=Path, required=True, help="folder for corpus and runs; it is kept")
    parser.add_argument("--out", type=Path, required=True, help="folder for the records")
    parser.add_argument("--bert-minutes", type=float, default=14)
    parser.add_argument("--simcse-minutes", type=float, default=6)
    parser.add_argument("--bert", nargs="*", default=[], metavar="KEY=VALUE", help="settings of the bert stage")
    parser.add_argument("--simcse", nargs="*", default=[], metavar="KEY=VALUE", help="settings of the simcse stage")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--table", action="store_true", help="print the table of the records and run nothing")
    options = parser.parse_args(arguments)
    minutes = {"bert": options.bert_minutes, "simcse": options.simcse_minutes}
    first = f"bert-seed{options.seed}"
    facts = {"seed": options.seed, "minutes": minutes}
    bert = {"method": "bert", "begin": "", "settings": options.bert, **facts}
    simcse = {"method": "simcse", "begin": first, "settings": options.simcse, **facts}
    tasks = [
        Task(first, bert, str(options.texts)),
        Task(f"simcse-seed{options.seed}", simcse, str(options.texts)),
    ]
    if not options.table:
        gather([*sorted(options.texts.glob("*/train.tsv")), *options.more], options.work / "corpus")
        console = Console(highlight=False)
        records.run_all(
            tasks,
            options.out,
            lambda task, record: measure(task, record, work=options.work, minutes=minutes, console=console),
        )
    print(table(records.load(options.out)))


if __name__ == "__main__":
    main()
