"""The demonstration: the whole way from unlabelled images to files, on the bundled Fashion-MNIST subset."""

from pathlib import Path
from typing import Any

from rich.console import Console

from selfstudy import api

_DATA = "sample:fashion"
_ENCODER = "resnet10t"
# Chosen on this data (docs/log.md): of 28 px the stock stem leaves one by one; small batches take more steps in the
# time; a low temperature suits clothes, which look much alike.
_SETTINGS = {"stem": "no_pool", "batch_size": 128, "set": {"method.temperature": 0.1}}


def run_demo(out: Path, *, minutes: float, console: Console) -> None:
    """Pretrain, evaluate, embed and export under ``out``, and print what was learnt and how to use it."""
    run_folder, table, exported = out / "run", out / "embeddings.parquet", out / "timm"
    console.print(f"SimCLR on {_DATA}, {_ENCODER}, {minutes:g} minutes\n", highlight=False)
    given: dict[str, Any] = {"method": "simclr", "encoder": _ENCODER, "minutes": minutes, **_SETTINGS}
    run = api.pretrain(_DATA, out=run_folder, overwrite=True, console=console, **given)
    results = api.evaluate(run.folder, _DATA, console=console)
    rows = run.embed(_DATA, table)
    export = run.export("timm", exported)
    console.print(f"\n{results}\n", highlight=False)
    console.print(f"run folder   {run.folder}  (views.png shows what the method saw)", highlight=False)
    console.print(f"embeddings   {table}  ({rows:,} rows)", highlight=False)
    console.print(f"timm export  {export.path}  (reloaded, max |difference| {export.max_abs_difference:.1e})\n")
    console.print("use the encoder:\n", highlight=False)
    console.print(
        f'  import selfstudy\n  encoder = selfstudy.load("{run.folder}")\n'
        '  vectors = encoder.embed(["a.png", "b.png"])',
        highlight=False,
        markup=False,
    )
