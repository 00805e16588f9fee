"""The public functions, from pretrain to complete; the command line says the same."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from selfstudy import config as cfg
from selfstudy import modalities
from selfstudy.data.names import name_of
from selfstudy.disk.atomic import replace_file
from selfstudy.errors import RunFolderError, UsageError
from selfstudy.export.result import ExportResult
from selfstudy.machine.processors import limit_threads
from selfstudy.probes import DEFAULT, named
from selfstudy.probes.evaluation import Question
from selfstudy.probes.evaluation import evaluate as run_evaluation
from selfstudy.probes.results import Results
from selfstudy.runs.folder import RunFolder
from selfstudy.runs.pretraining import default_out, derive
from selfstudy.runs.pretraining import pretrain as _pretrain
from selfstudy.runs.settings import merge, read_settings, without_effect
from selfstudy.text.embedder import Guess

if TYPE_CHECKING:
    from selfstudy.report.comparison import Comparison
    from selfstudy.runs.modality import Embedder

_QUIET = Console(quiet=True)


@dataclass(frozen=True)
class Run:
    """A finished run: its folder, and what can be done with it."""

    folder: Path

    def evaluate(self, data: Any, *, test: Any = None, probe: Sequence[str] = DEFAULT, **columns: Any) -> Results:
        """See :func:`evaluate`."""
        return evaluate(self.folder, data, test=test, probe=probe, **columns)

    def embed(self, data: Any, out: str | Path, *, overwrite: bool = False) -> int:
        """See :func:`embed`."""
        return embed(self.folder, data, out, overwrite=overwrite)

    def export(self, to: str, out: str | Path, *, overwrite: bool = False) -> ExportResult:
        """See :func:`export`."""
        return export(self.folder, to, out, overwrite=overwrite)

    def inspect(self, data: Any, *, out: str | Path | None = None) -> list[Path]:
        """See :func:`inspect`."""
        return inspect(self.folder, data, out=out)

    def report(self) -> Path:
        """See :func:`report`."""
        return report(self.folder)

    @property
    def encoder(self) -> "Embedder":
        """See :func:`load`."""
        return load(self.folder)


def pretrain(
    data: Any = None,
    *,
    out: str | Path | None = None,
    config: str | Path | Mapping[str, Any] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    console: Console | None = None,
    **settings: Any,
) -> Run:
    """A finished run: an encoder trained on images or text without labels, in a run folder.

    Args:
        data: a folder, archive, list, table, array, named data set (``sample:fashion``), tensor or ``Dataset``; for
            text a file, a folder of them, ``sample:python`` or a list of texts.
        out: the run folder; ``runs/<data>-<method>`` when left out.
        config: a YAML file or nested mapping of settings; the arguments here come on top of it.
        resume: continue the run in ``out``.
        overwrite: move a run in ``out`` aside first.
        console: where progress is printed; nowhere when left out.
        settings: ``method``, ``encoder``, ``stem``, ``image_size``, ``views``, for text ``tokenizer``, ``context`` and
            ``held_out``, ``epochs`` | ``steps`` | ``minutes`` | ``samples``, ``batch_size``, ``precision``,
            ``device``, ``workers``, ``seed``, or ``set={"method.temperature": 0.2}``.

    Raises:
        SelfstudyError: the subclass names the kind of trouble, the message what to do.
    """
    nested = read_settings(config)
    folder = RunFolder(out) if out is not None else None
    if resume and folder is not None and folder.config.is_file():
        nested = merge(cfg.read_yaml(folder.config), nested)
    built = modalities.configured(data, nested, settings)
    if folder is None:
        folder = RunFolder(default_out(data, built.method["name"]))
        if resume and folder.config.is_file():
            built = modalities.configured(data, merge(cfg.read_yaml(folder.config), nested), settings)
    opened = modalities.opener(data, built)
    _pretrain(opened, built, folder, resume=resume, overwrite=overwrite, console=console or _QUIET)
    return Run(folder.path)


def recipe(data: Any, *, config: str | Path | Mapping[str, Any] | None = None, **settings: Any) -> str:
    """The settings that :func:`pretrain` would take for this data, each with its reason: YAML that ``config`` reads.

    Args:
        data: as for :func:`pretrain`; looked at, not trained on.
        config: as there.
        settings: as there.

    Raises:
        SelfstudyError: as there.
    """
    built = modalities.configured(data, read_settings(config), settings)
    return derive(modalities.opener(data, built), console=_QUIET)


def evaluate(
    run: str | Path,
    data: Any,
    *,
    test: Any = None,
    probe: Sequence[str] = DEFAULT,
    label_column: str | None = None,
    text_column: str | None = None,
    console: Console | None = None,
) -> Results:
    """Scores of an encoder under simple probes, with those of raw pixels or TF-IDF and of the same encoder untrained.

    A run that began with timm's weights is compared with those. The scores are added to ``evaluations.jsonl``.

    Args:
        run: the run folder.
        data: labelled images or texts: class folders, two folders ``train`` and ``test`` of class folders, a table
            with a column of labels, or for images a named data set; for ``"sts"`` a table of two sentences and a score.
        test: labelled data to test on; if left out, the test split of ``data``, or a fifth of every class.
        probe: any of ``"knn"``, ``"linear"``, ``"low-shot"``, ``"retrieval"`` and ``"finetune"``, which trains the
            whole encoder; or ``"sts"`` alone, for pairs of sentences; or probes of other packages.
        label_column: a column of a table; if left out ``label``, and for text other usual names.
        text_column: a column of a table of texts; found if left out.
        console: the console that shows progress; none if left out.

    Raises:
        UsageError: an unknown probe, a missing column, or no run at ``run``.
        DataError: no labels, or different classes in train and test.
    """
    folder = RunFolder.existing(run)
    limit_threads()
    chosen, out = named(probe), console or _QUIET
    asked = {"label_column": label_column, "text_column": text_column}
    columns = {role: column for role, column in asked.items() if column is not None}
    opened = modalities.of_run(folder.path).evaluation(folder, Question(chosen, data, test, columns), out)
    names = " ".join([name_of(data), *columns.values()]), None if test is None else name_of(test)
    results = run_evaluation(opened, chosen, console=out).on(*names)
    folder.append(folder.evaluations, (score.line() for score in results))
    return results


def embed(
    run: str | Path, data: Any, out: str | Path, *, overwrite: bool = False, console: Console | None = None
) -> int:
    """The number of rows written: one embedding per readable input, as Parquet, streamed.

    Columns: ``id``, ``path``, ``embedding`` (fixed-size list of float32) and ``label`` where the data has one; the
    file's metadata says which encoder made it and how images were prepared. What could not be read, and text that is
    blank, is listed with the reason in ``<out>.unreadable.jsonl``.

    Args:
        run: the run folder, or an ``encoder/`` folder by itself.
        data: as in :func:`pretrain`; what a document is, and where in a table, is as it was for the run.
        out: the file; its folder is made when missing.
        overwrite: replace the file if it exists.
        console: where it is said how many were left out; nowhere when left out.

    Raises:
        DataError: nothing could be read.
        RunFolderError: ``out`` exists.
        UsageError: ``out`` is a folder.
    """
    if Path(out).is_dir():
        raise UsageError(f"{out} is a folder\nname a file in it, such as {Path(out) / 'embeddings.parquet'}")
    _refuse_existing(Path(out), overwrite=overwrite)
    embedder = load(run)
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    return modalities.of_run(run).embed(embedder, Path(run), data, Path(out), console or _QUIET)


def _refuse_existing(out: Path, *, overwrite: bool) -> None:
    """Protect a file, or what a folder holds."""
    if overwrite or not out.exists() or out.is_dir() and not any(out.iterdir()):
        return
    what = "already holds files" if out.is_dir() else "exists already"
    raise RunFolderError(f"{out} {what}\n--overwrite writes over them, --out names another place")


def export(run: str | Path, to: str, out: str | Path, *, overwrite: bool = False) -> ExportResult:
    """The encoder as files that another library opens, after reloading them there and comparing outputs.

    Args:
        run: the run folder.
        to: ``"transformers"`` or ``"onnx"``; of images also ``"timm"`` or ``"torchvision"``, of text also
            ``"sentence-transformers"``.
        out: folder to write into.
        overwrite: write into a folder that holds files already; never into a run.

    Raises:
        UsageError: an unknown target, or an encoder the target does not have.
        FileRefusedError: the reloaded network does not compute the same.
        RunFolderError: ``out`` holds files, or the encoder of a run.
    """
    folder = RunFolder.existing(run)
    write = modalities.exporter(modalities.of_run(run), to)
    if modalities.holds_encoder(modalities.encoder_folder(out)):
        raise RunFolderError(f"{out} holds the encoder of a run\nname another folder with --out")
    _refuse_existing(Path(out), overwrite=overwrite)
    return write(folder.encoder, Path(out))


def load(run: str | Path, *, device: str | None = None) -> "Embedder":
    """The encoder of a run, ready to ``embed`` texts, or paths, PIL images, arrays and tensors, as (n, D) float32.

    Args:
        run: the run folder, or an ``encoder/`` folder by itself.
        device: where it runs; the machine's accelerator, or else the CPU, when left out.

    Raises:
        FileRefusedError: the encoder's files are missing, damaged or unsafe.
    """
    limit_threads()
    return modalities.of_run(run).load(modalities.encoder_folder(run), device=device)


def fill(run: str | Path, text: str, *, top: int = 5) -> list[list[Guess]]:
    """What a run of bert puts in the place of every ``[MASK]`` of a text, best first.

    Args:
        run: the run folder, or an ``encoder/`` folder by itself.
        text: holds ``[MASK]`` once or several times.
        top: guesses for each.

    Raises:
        UsageError: no mask, too long a text, or a run that fills in none.
    """
    return modalities.text_embedder(run).fill(text, top=top)


def complete(run: str | Path, prompt: str, **settings: Any) -> str:
    """The prompt and what a run of gpt says after it.

    Args:
        run: the run folder, or an ``encoder/`` folder by itself.
        prompt: may be empty.
        settings: ``tokens``, ``temperature``, ``top_k``, ``top_p``, ``seed``: see
            :meth:`selfstudy.text.embedder.TextEmbedder.complete`.

    Raises:
        UsageError: a run of another kind, or settings out of range.
    """
    return modalities.text_embedder(run).complete(prompt, **settings)


def inspect(run: str | Path, data: Any, *, out: str | Path | None = None, console: Console | None = None) -> list[Path]:
    """The pictures written, as PNG files, of what a run has learnt; training may still be under way.

    Nearest neighbours for every run; where vision transformers look; what the prototypes stand for and what a method
    reconstructs, where it has or does that. They show up to 5,000 images of ``data``.

    Args:
        run: the run folder; its newest checkpoint is used.
        data: images, as in :func:`pretrain`.
        out: folder to write into; ``pictures`` in the run folder when left out.
        console: where a line of progress is printed; nowhere when left out.

    Raises:
        UsageError: no run at ``run``, or no checkpoint in it.
        DataError: fewer than two images could be read.
    """
    folder = RunFolder.existing(run)
    target = folder.pictures if out is None else Path(out)
    modality = modalities.of_config(folder.config)
    return modality.inspect(folder, data, out=target, console=console or _QUIET)


def report(run: str | Path) -> Path:
    """The page that was written: ``report.html`` in the run folder, one file with all that is known of the run.

    What it learnt and how well, its curves, pictures, data, and settings with their reasons; training may be under way.

    Args:
        run: the run folder.

    Raises:
        UsageError: no run at ``run``.
        FileRefusedError: a file in it is damaged.
    """
    from selfstudy.report.page import render_run  # training has no use for what draws figures
    from selfstudy.report.record import read_run

    folder = RunFolder.existing(run)
    folder.replace(folder.report, render_run(read_run(folder)))
    return folder.report


def compare(runs: Sequence[str | Path], *, out: str | Path | None = None, overwrite: bool = False) -> "Comparison":
    """Runs side by side: settings that differ, training, and numbers that may be compared; also ``.to_csv()``.

    Runs that differ in nothing but their seed share a column, with mean and standard deviation.

    Args:
        runs: two or more run folders.
        out: an HTML file to write as well, with the curves.
        overwrite: replace that file if it exists.

    Raises:
        UsageError: fewer than two runs, one that is named twice, or none at one of the folders.
        FileRefusedError: a file in one is damaged.
        RunFolderError: ``out`` exists.
    """
    from selfstudy.report.comparison import Comparison
    from selfstudy.report.record import read_run

    comparison = Comparison(
        [read_run(RunFolder.existing(run)) for run in runs], ignored=without_effect(modalities.models())
    )
    if out is not None:
        _refuse_existing(Path(out), overwrite=overwrite)
        Path(out).parent.mkdir(parents=True, exist_ok=True)
        replace_file(Path(out), comparison.to_html().encode("utf-8"))
    return comparison
