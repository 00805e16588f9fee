"""What in-domain pretraining from nothing gives to frozen probes: bert, then simcse from it, on texts without labels.

The folder holds a sub-folder for each data set with ``train.tsv`` and ``test.tsv``, ``label TAB text``; all train texts
together, and whatever else is in ``--more``, are the corpus. Labels are read by the probes alone::

    python benchmarks/text_probes.py TEXTS --more REVIEWS --work SCRATCH --out benchmarks/results/text_probes

Every stage has one JSON file in ``--out``; what is recorded is not run again. Nothing else should use the cores.
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
    """Copies of all texts to learn from in one folder."""
    target.mkdir(parents=True, exist_ok=True)
    for file in files:
        shutil.copyfile(file, target / f"{file.parent.name}-{file.name}")


def measure(task: Task, record: Record, *, work: Path, minutes: dict[str, float], console: Console) -> None:
    """Train one stage, and probe it on every data set."""
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
    """A Markdown row for each stage and data set, by the linear probe."""
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
    parser.add_argument("--more", type=Path, nargs="*", default=[], help="more tables of text to learn from")
    parser.add_argument("--work", type=Path, required=True, help="folder for corpus and runs, which is kept")
    parser.add_argument("--out", type=Path, required=True, help="folder of the records")
    parser.add_argument("--bert-minutes", type=float, default=14)
    parser.add_argument("--simcse-minutes", type=float, default=6)
    parser.add_argument("--bert", nargs="*", default=[], metavar="KEY=VALUE", help="settings of that stage")
    parser.add_argument("--simcse", nargs="*", default=[], metavar="KEY=VALUE", help="likewise")
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
