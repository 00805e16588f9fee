"""The demonstrations: from unlabelled images, or from raw text, to an exported encoder, without a download."""

from pathlib import Path
from typing import Any

from rich.console import Console

from selfstudy import api
from selfstudy.errors import UsageError, first_line

_DATA = "sample:fashion"
_ENCODER = "resnet10t"
# Chosen on this data (docs/log.md): the stock stem reduces 28 px to one; small batches take more steps in the
# same time; a low temperature suits clothes, which look very similar.
_SETTINGS = {"stem": "no_pool", "batch_size": 128, "set": {"method.temperature": 0.1}}
_SOLVING, _TRAINING = 0.15, 0.45  # shares of the minutes; the rest is for two evaluations and the export
_DECIDES = ("knn-whitened", "linear")  # the encoder with the larger sum of these is kept


def run_demo(out: Path, *, minutes: float, console: Console) -> None:
    """Solve patches, train SimCLR, and compare both under ``out``; embed and export the better encoder."""

    def say(line: str = "") -> None:
        console.print(line, highlight=False, markup=False)

    say(f"patches, then SimCLR with {_ENCODER}, on {_DATA}: {minutes:g} minutes in all\n")
    solving: dict[str, Any] = {"method": "patches", "minutes": _SOLVING * minutes}
    training: dict[str, Any] = {"method": "simclr", "encoder": _ENCODER, "minutes": _TRAINING * minutes, **_SETTINGS}
    scores: dict[str, float] = {}
    runs: dict[str, api.Run] = {}
    for name, given in {"patches": solving, "simclr": training}.items():
        runs[name] = api.pretrain(_DATA, out=out / name, overwrite=True, console=console, **given)
        say()
    for name, run in runs.items():
        results = api.evaluate(run.folder, _DATA, console=console)
        scores[name] = sum(results.accuracy("pretrained encoder", probe) for probe in _DECIDES)
        say(f"\n{name}:\n{results}\n")
    best = max(scores, key=lambda name: scores[name])
    run, table, to = runs[best], out / "embeddings.parquet", "onnx" if best == "patches" else "timm"
    rows = run.embed(_DATA, table, overwrite=True)
    say(f"the better encoder is that of {best}")
    say(f"run folder   {run.folder}")
    say(f"report       {run.report()}  (everything about the run, on one page)")
    say(f"embeddings   {table}  ({rows:,} rows)")
    try:
        export = run.export(to, out / to, overwrite=True)
        say(f"{to} export  {export.path}  (reloaded, max |difference| {export.max_abs_difference:.1e})")
    except UsageError as error:  # the extra that writes ONNX is not installed
        say(f"no {to} export: {first_line(error)}")
    say("\nuse the encoder:\n")
    say(f'  import selfstudy\n  encoder = selfstudy.load("{run.folder}")')
    say('  vectors = encoder.embed(["a.png", "b.png"])')


_TEXT = "sample:python"
_BEGINNING = "def "


def run_text_demo(out: Path, *, minutes: float, console: Console) -> None:
    """Pretrain on the source of the standard library, complete a text and export under ``out``, and print the use."""
    exported = out / "transformers"
    console.print(f"GPT on {_TEXT}, {minutes:g} minutes\n", highlight=False)
    run = api.pretrain(_TEXT, method="gpt", minutes=minutes, out=out / "text", overwrite=True, console=console)
    export = run.export("transformers", exported, overwrite=True)
    console.print(f"\n{_BEGINNING!r} goes on, drawn at temperature 0.5:\n", highlight=False)
    console.print(api.complete(run.folder, _BEGINNING, tokens=60, temperature=0.5), highlight=False, markup=False)
    console.print(f"\nrun folder           {run.folder}", highlight=False)
    console.print(f"report               {run.report()}", highlight=False)
    console.print(f"transformers export  {export.path}  (reloaded, max |difference| {export.max_abs_difference:.1e})\n")
    console.print("use it:\n", highlight=False)
    console.print(f"  selfstudy complete {run.folder} 'import '", highlight=False, markup=False)
