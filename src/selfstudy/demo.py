"""The demonstrations: from unlabelled images, or from raw text, to an exported encoder, without a download."""

from pathlib import Path
from typing import Any

from rich.console import Console

from selfstudy import api

_DATA = "sample:fashion"
_ENCODER = "resnet10t"
# Chosen on this data (docs/log.md): the stock stem reduces 28 px to one; small batches take more steps in the
# same time; a low temperature suits clothes, which look very similar.
_SETTINGS = {"stem": "no_pool", "batch_size": 128, "set": {"method.temperature": 0.1}}


def run_demo(out: Path, *, minutes: float, console: Console) -> None:
    """Pretrain, evaluate, embed and export under ``out``, and print the scores and how to use the encoder."""
    run_folder, table, exported = out / "run", out / "embeddings.parquet", out / "timm"
    console.print(f"SimCLR on {_DATA}, {_ENCODER}, {minutes:g} minutes\n", highlight=False)
    given: dict[str, Any] = {"method": "simclr", "encoder": _ENCODER, "minutes": minutes, **_SETTINGS}
    run = api.pretrain(_DATA, out=run_folder, overwrite=True, console=console, **given)
    results = api.evaluate(run.folder, _DATA, console=console)
    rows = run.embed(_DATA, table, overwrite=True)
    export = run.export("timm", exported, overwrite=True)
    console.print(f"\n{results}\n", highlight=False)
    console.print(f"run folder   {run.folder}", highlight=False)
    console.print(f"report       {run.report()}  (everything about the run, on one page)", highlight=False)
    console.print(f"embeddings   {table}  ({rows:,} rows)", highlight=False)
    console.print(f"timm export  {export.path}  (reloaded, max |difference| {export.max_abs_difference:.1e})\n")
    console.print("use the encoder:\n", highlight=False)
    console.print(
        f'  import selfstudy\n  encoder = selfstudy.load("{run.folder}")\n'
        '  vectors = encoder.embed(["a.png", "b.png"])',
        highlight=False,
        markup=False,
    )


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
