"""The command line: a command for each function of :mod:`selfstudy.api`, and the exit codes of :mod:`selfstudy.errors`.

``selfstudy --help`` imports neither torch nor anything that does.
"""

import errno
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from selfstudy import probes
from selfstudy.config import Keyword, flatten, override
from selfstudy.errors import EnvironmentFault, SelfstudyError, first_line
from selfstudy.modalities import SETTINGS, available, exports
from selfstudy.plugins import OWN
from selfstudy.runs.settings import Row, keywords_of
from selfstudy.version import __version__

app = typer.Typer(
    help="Self-supervised learning on your own images or text: an encoder, and evidence of how good it is.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
_SET_HELP = "Any setting: method.temperature=0.2; may be repeated."
_MODALITY_HELP = f" Known: {', '.join(map(str, available().values()))}."
_PROBE_HELP = f"Comma-separated: {', '.join(map(str, probes.available().values()))}; sts only by itself."
_REFUSALS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO}


def _libraries() -> dict[str, str]:
    """The libraries that the encoders of each modality can be exported to, as a list in words."""
    return {modality: ", ".join(map(str, entries.values())) or "none" for modality, entries in exports().items()}


_EXPORT_HELP = f"Library that will open the encoder; for {'; for '.join(map(': '.join, _libraries().items()))}."


def _show_version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@dataclass
class _Shown:
    """The parts of an error to print. Typer's context takes it from the options of ``selfstudy`` to :func:`main`."""

    trace: bool = False


@app.callback()
def _options(
    context: typer.Context,
    debug: Annotated[bool, typer.Option(help="Show the full trace of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    context.ensure_object(_Shown).trace = debug


def _console() -> Console:
    return Console(stderr=False, soft_wrap=True)


def _with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """The command itself; after its first parameter it has an option for every keyword of the table of settings.

    The options of the method come first, those of the data last.
    """
    data, *own = [one for one in signature(command).parameters.values() if one.kind is not Parameter.VAR_KEYWORD]
    shorts = sorted(keywords_of(SETTINGS).items(), key=lambda item: item[1][1].key.startswith("data."))
    options = [Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=_option(*one)) for name, one in shorts]
    command.__dict__["__signature__"] = Signature([data, *options, *own])
    return command


def _option(keyword: Keyword, row: Row) -> Any:
    """The annotation of a setting for Typer: type, help text, and the allowed values."""
    words = [value for value in row.values if value not in ("dict", "list", "null", "tuple")]  # an option is one word
    metavar = f"<{keyword.kind.__name__ if keyword.unit else '|'.join(words)}>"
    text = (keyword.help or row.description) + (_MODALITY_HELP if row.key == "data.modality" else "")
    return Annotated[keyword.kind | None, typer.Option(help=text, metavar=metavar)]


@app.command()
@_with_settings
def pretrain(
    data: Annotated[
        str, typer.Argument(help="Images or text: folder, file, zip, tar, list, Parquet, .npz, sample:NAME, hub:NAME.")
    ],
    *,
    out: Annotated[Path | None, typer.Option(help="Run folder; runs/DATA-METHOD if left out.")] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file of settings.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help=_SET_HELP)] = None,
    eval_: Annotated[
        str | None,
        typer.Option("--eval", help="Labelled data: k-NN is read on it during training, and the end is evaluated."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in --out.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Move a run in --out aside first.")] = False,
    **settings: Any,
) -> None:
    """Learn an encoder from images or text without labels."""
    began = time.monotonic()  # a budget in minutes holds the import of torch too
    from selfstudy import api

    console, settings["set"] = _console(), _overrides(set_)
    settings |= {"resume": resume, "overwrite": overwrite, "console": console, "began": began, "eval": eval_}
    run = api.pretrain(data, out=out, config=config, **settings)
    console.print(f"run      {run.folder}  (on one page: selfstudy report {run.folder})", highlight=False)
    if eval_ is None:
        console.print(f"measure  selfstudy evaluate {run.folder} LABELLED", highlight=False, markup=False)
    console.print(f"use      selfstudy embed {run.folder} {data}", highlight=False, markup=False)


@app.command()
@_with_settings
def recipe(
    data: Annotated[str, typer.Argument(help="Images or text: the same data that pretrain takes.")],
    *,
    config: Annotated[Path | None, typer.Option(help="YAML file of settings.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help=_SET_HELP)] = None,
    **settings: Any,
) -> None:
    """Print the settings that pretrain would use, each with its reason, as YAML for --config; nothing is trained."""
    from selfstudy import api

    print(api.recipe(data, config=config, set=_overrides(set_), **settings), end="")


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    data: Annotated[str, typer.Argument(help="Labelled images or texts.")],
    test: Annotated[
        str | None, typer.Option(help="Labelled data to test on; if left out, DATA's test split or a fifth of DATA.")
    ] = None,
    probe: Annotated[str, typer.Option(help=_PROBE_HELP)] = ",".join(probes.DEFAULT),
    label_column: Annotated[
        str | None, typer.Option(help="Column of a table with the labels; if left out, label or another usual name.")
    ] = None,
    text_column: Annotated[
        str | None, typer.Option(help="Column of a table with the texts; if left out, a column of a usual name.")
    ] = None,
    full: Annotated[
        bool, typer.Option("--full", help="Use all examples; otherwise at most 60,000 to train and 10,000 to test.")
    ] = False,
) -> None:
    """Measure an encoder with simple probes, next to features that need no training, such as raw pixels or TF-IDF."""
    from selfstudy import api

    names, columns = [p.strip() for p in probe.split(",")], {"label_column": label_column, "text_column": text_column}
    print(api.evaluate(run, data, test=test, probe=names, full=full, console=_console(), **columns))


@app.command()
def embed(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    data: Annotated[str, typer.Argument(help="Images or texts.")],
    out: Annotated[Path, typer.Option(help="Parquet file to write.")] = Path("embeddings.parquet"),
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file if it exists.")] = False,
    whiten: Annotated[
        bool, typer.Option("--whiten", help="Whiten the embeddings by the statistics of the run.")
    ] = False,
) -> None:
    """Write one embedding per image or document as Parquet."""
    from selfstudy import api

    rows = api.embed(run, data, out, overwrite=overwrite, whiten=whiten, console=_console())
    print(f"{rows:,} embeddings in {out}")


@app.command()
def whiten(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    data: Annotated[str, typer.Argument(help="Images or texts like those of the run; at most 20,000 are read.")],
) -> None:
    """Add whitening statistics to a run of an earlier version; newer runs have them."""
    from selfstudy import api

    api.whiten(run, data, console=_console())


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    to: Annotated[str, typer.Option(help=_EXPORT_HELP)],
    out: Annotated[Path, typer.Option(help="Folder to write into.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Write into a folder that holds files.")] = False,
    whiten: Annotated[bool, typer.Option("--whiten", help="Whiten by the last layer; for onnx.")] = False,
) -> None:
    """Write the encoder for another library, reload it there and compare."""
    from selfstudy import api

    result = api.export(run, to, out, overwrite=overwrite, whiten=whiten)
    print(f"{result.path}: reloaded in {result.library}, max |difference| {result.max_abs_difference:.1e}")
    print(f"\n{result.usage}")


@app.command()
def fill(
    run: Annotated[Path, typer.Argument(help="Run folder of bert.")],
    text: Annotated[str, typer.Argument(help="Text with [MASK] where a word is missing.")],
    top: Annotated[int, typer.Option(help="Guesses for each [MASK].")] = 5,
) -> None:
    """Print the most probable words for every [MASK]."""
    from selfstudy import api

    for number, place in enumerate(api.fill(run, text, top=top)):
        if number:
            print()
        for guess in place:
            print(f"{guess.probability:6.1%}  {guess.token:<16}  {_on_one_line(guess.text)}")


@app.command()
def complete(
    run: Annotated[Path, typer.Argument(help="Run folder of gpt.")],
    prompt: Annotated[str, typer.Argument(help="Beginning of the text.")] = "",
    tokens: Annotated[int, typer.Option(help="Largest number of tokens to add.")] = 100,
    temperature: Annotated[
        float, typer.Option(help="Temperature of the draws; 0 takes the most probable token.")
    ] = 0.8,
    top_k: Annotated[int | None, typer.Option(help="Draw from this many tokens, the most probable ones.")] = None,
    top_p: Annotated[
        float | None, typer.Option(help="Draw from the fewest tokens that together have this probability.")
    ] = 0.95,
    seed: Annotated[int, typer.Option(help="Seed of the draws.")] = 0,
) -> None:
    """Continue a text."""
    from selfstudy import api

    settings = {"tokens": tokens, "temperature": temperature, "top_k": top_k, "top_p": top_p, "seed": seed}
    print(api.complete(run, prompt, **settings))


@app.command()
def modalities() -> None:
    """List the kinds of data, each with the package it comes from and the libraries that open its encoders."""
    libraries = _libraries()
    _table({name: f"{entry.origin} · exports: {libraries[name]}" for name, entry in available().items()})


@app.command()
def methods() -> None:
    """List the pretext tasks by family, with their papers and what they need."""
    from selfstudy.methods import available

    known = available()
    width = max(map(len, known))
    for family in dict.fromkeys(facts.family for facts in known.values()):
        print(family)
        for name, facts in known.items():
            if facts.family == family:
                needs = f" · needs {facts.needs}" if facts.needs else ""
                origin = "" if facts.origin == OWN else f" · from {facts.origin}"
                print(f"  {name:<{width}}  {facts.summary} {facts.paper}{needs}{origin}")


@app.command()
def encoders() -> None:
    """List good encoders; any other timm name works too, and so does a folder that transformers can read."""
    from selfstudy.encoders.catalogue import CATALOGUE
    from selfstudy.encoders.packages import from_packages
    from selfstudy.encoders.text_catalogue import TEXT_CATALOGUE

    others = {
        name: "whitened patches of the images: what --method patches solves"
        if entry.origin == OWN
        else f"for images, from {entry.origin}"
        for name, entry in from_packages().items()
    }
    _table(CATALOGUE | TEXT_CATALOGUE | others)


@app.command()
def samples() -> None:
    """List the data sets that can be used without a download."""
    from selfstudy.images.samples import samples as known

    text = {"sample:python": "source of the standard library of this Python, as text: about 11 MB in 570 files"}
    _table({f"sample:{name}": what for name, what in known().items()} | text)


@app.command()
def demo(
    minutes: Annotated[float, typer.Option(help="Length of the training.")] = 3.0,
    text: Annotated[bool, typer.Option("--text", help="Learn from text: the source of the standard library.")] = False,
    out: Annotated[Path, typer.Option(help="Folder for everything the demo writes.")] = Path("demo-output"),
) -> None:
    """Pretrain, evaluate, embed and export on bundled images or on text, in about four minutes."""
    from selfstudy.demo import run_demo, run_text_demo

    (run_text_demo if text else run_demo)(out, minutes=minutes, console=_console())


@app.command()
def inspect(
    run: Annotated[Path, typer.Argument(help="Run folder, finished or not.")],
    data: Annotated[str, typer.Argument(help="Images.")],
    out: Annotated[Path | None, typer.Option(help="Folder for the pictures; RUN/pictures if left out.")] = None,
) -> None:
    """Draw pictures of what a run has learnt: neighbours, attention, prototypes, reconstructions."""
    from selfstudy import api

    for file in api.inspect(run, data, out=out, console=_console()):
        print(file)


@app.command()
def report(run: Annotated[Path, typer.Argument(help="Run folder, finished or not.")]) -> None:
    """Write RUN/report.html: scores, curves, pictures, data and settings of a run, in one file."""
    from selfstudy import api

    print(api.report(run))


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(help="Two or more run folders.")],
    out: Annotated[Path | None, typer.Option(help="HTML file to write as well; it also has the curves.")] = None,
    csv: Annotated[bool, typer.Option("--csv", help="Print the numbers as CSV.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the HTML file if it exists.")] = False,
) -> None:
    """Print runs side by side: settings that differ, training, numbers; seeds of one setting share a column."""
    from selfstudy import api

    comparison = api.compare(runs, out=out, overwrite=overwrite)
    print(comparison.to_csv() if csv else comparison, end="" if csv else "\n")


def _overrides(texts: list[str] | None) -> dict[str, Any]:
    """The values of ``--set`` by dotted key; the mapping of a whole group stands for each of its settings."""
    values: dict[str, Any] = {}
    for key, value in map(override, texts or []):
        values |= {key: value} if "." in key else flatten({key: value})
    return values


def _on_one_line(text: str) -> str:
    return text.replace("\n", "\\n")


def _table(rows: dict[str, str]) -> None:
    width = max(len(name) for name in rows)
    for name, text in rows.items():
        print(f"{name:<{width}}  {text}")


def main() -> None:
    """Run the command line; every deliberate error becomes its message and its exit code."""
    shown = _Shown()
    try:
        app(standalone_mode=True, obj=shown)
    except SelfstudyError as error:
        _fail(error, error.exit_code, trace=shown.trace)
    except KeyboardInterrupt:
        print("stopped by Ctrl-C", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        fault = _fault_of_the_machine(error)
        _fail(fault or error, 1 if fault is None else fault.exit_code, trace=shown.trace)


def _fault_of_the_machine(error: Exception) -> EnvironmentFault | None:
    """The EnvironmentFault for an error of the operating system or of memory; None for a bug."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's, which is not imported
        return EnvironmentFault(f"out of memory: {first_line(error)}\nuse a smaller --batch-size or encoder")
    if isinstance(error, OSError) and error.errno in _REFUSALS:
        where = f"{error.filename}: " if error.filename else ""
        return EnvironmentFault(f"{where}{error.strerror}\nfree space or correct the permissions, then run it again")
    return None


def _fail(error: Exception, code: int, *, trace: bool) -> None:
    """Print the message of an error, and the trace if asked for, and exit with the code."""
    if trace:
        traceback.print_exception(error)
    message = str(error) if isinstance(error, SelfstudyError) else f"internal error: {type(error).__name__}: {error}"
    hint = "" if isinstance(error, SelfstudyError) else "\nthis is a bug; selfstudy --debug ... shows the trace"
    print(f"selfstudy: {message}{hint}", file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
