"""The public functions; the command line has a command for each of them."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from selfstudy import config as cfg
from selfstudy import modalities
from selfstudy.data.names import name_of
from selfstudy.disk.atomic import refuse_existing, replace_file
from selfstudy.errors import RunFolderError, UsageError
from selfstudy.export.result import ExportResult
from selfstudy.machine.processors import limit_threads
from selfstudy.probes import DEFAULT, named
from selfstudy.probes.evaluation import Question
from selfstudy.probes.evaluation import evaluate as run_evaluation
from selfstudy.probes.kept import in_user_cache
from selfstudy.probes.results import Results
from selfstudy.runs.facts import judged, steps_of
from selfstudy.runs.folder import RunFolder
from selfstudy.runs.pretraining import default_out, derive
from selfstudy.runs.pretraining import pretrain as _pretrain
from selfstudy.runs.settings import merge, read_settings

if TYPE_CHECKING:
    from selfstudy.report.comparison import Comparison
    from selfstudy.runs.modality import Embedder
    from selfstudy.text.embedder import Guess

_QUIET = Console(quiet=True)


@dataclass(frozen=True)
class Run:
    """A finished run: its folder, and one method for each function that uses a run."""

    folder: Path

    def evaluate(self, data: object, *, test: object = None, probe: Sequence[str] = DEFAULT, **columns: Any) -> Results:
        """See :func:`evaluate`."""
        return evaluate(self.folder, data, test=test, probe=probe, **columns)

    def embed(self, data: object, out: str | Path, *, overwrite: bool = False, whiten: bool = False) -> int:
        """See :func:`embed`."""
        return embed(self.folder, data, out, overwrite=overwrite, whiten=whiten)

    def export(self, to: str, out: str | Path, *, overwrite: bool = False, whiten: bool = False) -> ExportResult:
        """See :func:`export`."""
        return export(self.folder, to, out, overwrite=overwrite, whiten=whiten)

    def inspect(self, data: object, *, out: str | Path | None = None) -> list[Path]:
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
    data: object = None,
    *,
    out: str | Path | None = None,
    config: str | Path | Mapping[str, Any] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    console: Console | None = None,
    began: float | None = None,
    eval: object = None,
    **settings: Any,
) -> Run:
    """Train an encoder on images or text without labels; return the finished run.

    Args:
        data: images: a folder, archive, list, table, array, tensor, ``Dataset`` or named data set
            (``sample:fashion``). Text: a file, a folder of files, a list of texts or ``sample:python``. None if
            ``config`` names the data.
        out: the run folder; ``runs/<data>-<method>`` if left out.
        config: a YAML file or a nested mapping of settings; the keyword arguments replace its settings.
        resume: True to continue the run in ``out``.
        overwrite: True to move a run in ``out`` to another name first.
        console: the console that shows progress; none if left out.
        began: the ``time.monotonic()`` at which a budget in minutes began; it holds all except what ``eval`` asks for.
        eval: labelled data, as for :func:`evaluate`. k-NN is read a dozen times during training, on a part of its train
            examples, into ``readings.jsonl``; at the end the run is evaluated. This does not change what is learnt.
        settings: the keywords of ``docs/settings.md``, such as ``method``, ``encoder``, ``batch_size``, ``seed`` and
            one of ``epochs``, ``steps``, ``minutes`` and ``samples``; any other setting by its dotted name, as in
            ``set={"method.temperature": 0.2}``.

    Raises:
        UsageError: an unknown setting, an impossible value, or a combination that does not fit.
        DataError: the data cannot be used.
        TrainingError: training diverged, or collapsed with ``health.on_collapse=stop``.
        EnvironmentFault: the disk, the memory or the device is not sufficient.
        RunFolderError: the run folder is in use, or holds files.
        FileRefusedError: a file of the run or of a given encoder is damaged.
        Interrupted: a signal stopped training; a checkpoint was written.
    """
    began = time.monotonic() if began is None else began
    nested = read_settings(config)
    folder = RunFolder(out) if out is not None else None
    if resume and folder is not None and folder.config.is_file():
        nested = merge(cfg.read_yaml(folder.config), nested)
    built = modalities.configured(data, nested, settings)
    if folder is None:
        folder = RunFolder(default_out(data, built.method["name"], resume=resume))
        if resume and folder.config.is_file():
            built = modalities.configured(data, merge(cfg.read_yaml(folder.config), nested), settings)
    shown = console or _QUIET
    options: dict[str, Any] = {"resume": resume, "overwrite": overwrite, "console": shown, "began": began}
    _pretrain(modalities.opener(data, built), built, folder, **options, labelled=eval)
    if eval is not None:
        shown.print(str(evaluate(folder.path, eval, console=shown)), markup=False, highlight=False, soft_wrap=True)
    return Run(folder.path)


def recipe(data: object, *, config: str | Path | Mapping[str, Any] | None = None, **settings: Any) -> str:
    """The settings that :func:`pretrain` would use, each with its reason, as YAML that ``config`` accepts.

    The data is read, and nothing is trained or written.

    Args:
        data: images or texts, in any form that :func:`pretrain` takes.
        config: a YAML file or a nested mapping of settings; the keyword arguments replace its settings.
        settings: the keywords of ``docs/settings.md``, and ``set`` for settings by their dotted names.

    Raises:
        UsageError: an unknown setting, an impossible value, or a combination that does not fit.
        DataError: the data cannot be used.
        EnvironmentFault: the machine does not have the device.
        FileRefusedError: the configuration file or a given encoder is damaged.
    """
    built = modalities.configured(data, read_settings(config), settings)
    return derive(modalities.opener(data, built), console=_QUIET)


def evaluate(
    run: str | Path,
    data: object,
    *,
    test: object = None,
    probe: Sequence[str] = DEFAULT,
    label_column: str | None = None,
    text_column: str | None = None,
    full: bool = False,
    console: Console | None = None,
) -> Results:
    """The scores of an encoder under simple probes, and those of its baselines.

    The baselines need no training. For images they are the raw pixels, ``patches`` in a small fixed form, and the same
    encoder before its first step, with normalisation statistics of the images that the probes learn from; a run that
    began with timm's weights is compared with these. For text they are TF-IDF, its truncated SVD (LSA) and the encoder
    before its first step. Their scores are kept in the user's cache, or in ``SELFSTUDY_CACHE``, so that a second
    evaluation on the same data need not measure them. One or two sentences say what the scores mean: ``.verdict`` of
    the result. All scores and the verdict are added to ``evaluations.jsonl``. Of more than 60,000 train or 10,000 test
    examples a stratified sample is used, and every protocol says so.

    Args:
        run: the run folder.
        data: labelled images or texts: class folders, two folders ``train`` and ``test`` of class folders, a table
            with a column of labels, or for images a named data set; for ``"sts"`` a table of two sentences and a score.
        test: labelled data to test on; if left out, the test split of ``data``, or a fifth of every class.
        probe: any of the probes that ``selfstudy evaluate --help`` lists. ``"finetune"`` trains the whole encoder;
            ``"sts"``, for pairs of sentences, stands alone.
        label_column: a column of a table; if left out ``label``, and for text other usual names.
        text_column: a column of a table of texts; found if left out.
        full: True to use all examples, however many they are.
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
    opened = modalities.of_run(folder.path).evaluation(folder, Question(chosen, data, test, columns, full), out)
    names = " ".join([name_of(data), *columns.values()]), None if test is None else name_of(test)
    results = run_evaluation(opened, chosen, console=out, kept=in_user_cache(out)).on(*names, step=steps_of(folder))
    return judged(folder, results, opened.split)


def embed(
    run: str | Path,
    data: object,
    out: str | Path,
    *,
    overwrite: bool = False,
    whiten: bool = False,
    console: Console | None = None,
) -> int:
    """Write one embedding per readable input as Parquet; return the number of rows.

    The columns are ``id``, ``path``, ``embedding`` (a list of D float32) and, if the data has labels, ``label``. The
    metadata of the file describe the encoder. Inputs that cannot be read, and blank texts, are listed with the reason
    in ``<out>.unreadable.jsonl``. Rows are written while the data is read, so memory does not grow with the data.

    Args:
        run: the run folder, or an ``encoder/`` folder by itself.
        data: images or texts, in any form that :func:`pretrain` takes. Text is divided into documents as in the run.
        out: the file to write; its folder is made if it does not exist.
        overwrite: True to replace the file if it exists.
        whiten: True to whiten the embeddings by the statistics of the run, so that cosines compare them better.
        console: the console that shows the number of inputs without a row; none if left out.

    Raises:
        DataError: nothing could be read.
        FileRefusedError: the encoder's files are missing, damaged or unsafe.
        RunFolderError: ``out`` exists.
        UsageError: ``out`` is a folder; or the run has no whitening statistics, which :func:`whiten` adds.
    """
    if Path(out).is_dir():
        raise UsageError(f"{out} is a folder\nname a file in it, such as {Path(out) / 'embeddings.parquet'}")
    refuse_existing(Path(out), overwrite=overwrite)
    modality, embedder = modalities.of_run(run), load(run)
    if whiten:
        embedder = modalities.whitens(modality).whitened(embedder)
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    return modality.embed(embedder, Path(run), data, Path(out), console or _QUIET)


def whiten(run: str | Path, data: object, *, console: Console | None = None) -> int:
    """Add whitening statistics to the encoder of a run, or replace them; return the number of inputs they took.

    Runs of earlier versions have none; others add them at their end.

    Args:
        run: the run folder, or an ``encoder/`` folder by itself.
        data: images or texts like those of the run; at most 20,000 are read, and labels are ignored.
        console: the console that shows how many inputs were taken, and how long that took; none if left out.

    Raises:
        DataError: fewer than two inputs could be read.
        FileRefusedError: the encoder's files are missing, damaged or unsafe.
        UsageError: the data does not exist, or encoders of this modality have no such statistics.
    """
    limit_threads()
    modality = modalities.whitens(modalities.of_run(run))
    return modality.whiten(modalities.encoder_folder(run), Path(run), data, console or _QUIET)


def export(run: str | Path, to: str, out: str | Path, *, overwrite: bool = False, whiten: bool = False) -> ExportResult:
    """Write the encoder for another library, load it there and compare the outputs; return the result.

    Args:
        run: the run folder.
        to: ``"transformers"`` or ``"onnx"``; for images also ``"timm"`` or ``"torchvision"``, for text also
            ``"sentence-transformers"``.
        out: the folder to write into.
        overwrite: True to write into a folder that already holds files; a run is never written into.
        whiten: True to write the whitening of the run as the last layer, which ``"onnx"`` can hold.

    Raises:
        UsageError: an unknown target, an encoder or a whitening that the target cannot hold, or no run at ``run``.
        FileRefusedError: the outputs of the two libraries differ by more than rounding.
        RunFolderError: ``out`` holds files, or the encoder of a run.
    """
    folder = RunFolder.existing(run)
    write = modalities.exporter(modalities.of_run(run), to, whiten=whiten)
    if modalities.holds_encoder(modalities.encoder_folder(out)):
        raise RunFolderError(f"{out} holds the encoder of a run\nname another folder with --out")
    refuse_existing(Path(out), overwrite=overwrite)
    return write(folder.encoder, Path(out))


def load(run: str | Path, *, device: str | None = None) -> "Embedder":
    """The encoder of a run, whose method ``embed`` returns (n, D) float32.

    An encoder of images embeds paths, PIL images, arrays and tensors; an encoder of text embeds strings. With
    ``embed(..., whiten=True)`` both whiten the embeddings by the statistics of the run.

    Args:
        run: the run folder, or an ``encoder/`` folder by itself.
        device: the device to compute on; the accelerator of the machine, or the CPU, if left out.

    Raises:
        FileRefusedError: the encoder's files are missing, damaged or unsafe.
    """
    limit_threads()
    return modalities.of_run(run).load(modalities.encoder_folder(run), device=device)


def fill(run: str | Path, text: str, *, top: int = 5) -> "list[list[Guess]]":
    """The most probable tokens for every ``[MASK]`` of a text, by a run of bert: a list for each mask, best first.

    Args:
        run: the run folder, or an ``encoder/`` folder by itself.
        text: a text with one or several ``[MASK]``.
        top: the largest number of guesses for each mask, at least 1.

    Raises:
        UsageError: the text has no mask or is too long, ``top`` is below 1, or the run cannot fill in masks.
        FileRefusedError: the encoder's files are damaged or unsafe.
    """
    return modalities.text_embedder(run).fill(text, top=top)


def complete(run: str | Path, prompt: str, **settings: Any) -> str:
    """The prompt and its continuation by a run of gpt, up to the end of the document.

    Args:
        run: the run folder, or an ``encoder/`` folder by itself.
        prompt: the beginning of the text; it may be empty.
        settings: ``tokens``, the largest number of tokens to add (100); ``temperature``, which divides the logits
            (0.8; 0 takes the most probable token); ``top_k``, the number of most probable tokens to draw from (all);
            ``top_p``, the probability that the tokens to draw from sum to (0.95); ``seed`` of the random numbers (0).

    Raises:
        UsageError: the run is not a run of gpt, or a setting is out of its range.
        FileRefusedError: the encoder's files are damaged or unsafe.
    """
    return modalities.text_embedder(run).complete(prompt, **settings)


def inspect(
    run: str | Path, data: object, *, out: str | Path | None = None, console: Console | None = None
) -> list[Path]:
    """Draw pictures of what a run on images has learnt; return the PNG files. The run may still be training.

    Every run gets nearest neighbours. Vision transformers get attention maps, methods with prototypes the images of
    each prototype, and methods that reconstruct pixels their reconstructions. Up to 5,000 images of ``data`` are used.

    Args:
        run: the run folder; its newest checkpoint is used.
        data: images: a folder, archive, list, table, array, tensor, ``Dataset`` or named data set.
        out: the folder to write into; ``pictures`` in the run folder if left out.
        console: the console that shows a line of progress; none if left out.

    Raises:
        UsageError: no run at ``run``, no checkpoint in it, or a run on text.
        DataError: fewer than two images could be read.
        EnvironmentFault: the pictures cannot be written.
        FileRefusedError: a checkpoint is damaged.
    """
    folder = RunFolder.existing(run)
    target = folder.pictures if out is None else Path(out)
    modality = modalities.of_config(folder.config)
    return modality.inspect(folder, data, out=target, console=console or _QUIET)


def report(run: str | Path) -> Path:
    """Write ``report.html`` into the run folder; return its path. The run may still be training.

    The page is one file. It shows the scores, the curves, the pictures, the data, and the settings with their reasons.

    Args:
        run: the run folder.

    Raises:
        UsageError: no run at ``run``.
        FileRefusedError: a file in it is damaged.
    """
    from selfstudy.report.page import render_run  # training needs no library that draws figures
    from selfstudy.report.record import read_run

    folder = RunFolder.existing(run)
    folder.replace(folder.report, render_run(read_run(folder)))
    return folder.report


def compare(runs: Sequence[str | Path], *, out: str | Path | None = None, overwrite: bool = False) -> "Comparison":
    """Runs side by side: the settings that differ, the course of training, and the numbers that may be compared.

    The result prints as text; its ``to_csv()`` returns the numbers. Runs that differ only in their seed share a column,
    with mean and standard deviation.

    Args:
        runs: two or more run folders.
        out: an HTML file to write as well, which also has the curves.
        overwrite: True to replace that file if it exists.

    Raises:
        UsageError: fewer than two runs, a run that is named twice, or a folder without a run.
        FileRefusedError: a file of a run is damaged.
        RunFolderError: ``out`` exists.
    """
    from selfstudy.report.comparison import Comparison
    from selfstudy.report.record import read_run

    records = [read_run(RunFolder.existing(run)) for run in runs]
    comparison = Comparison(records, ignored=modalities.ignored_by_compare())
    if out is not None:
        refuse_existing(Path(out), overwrite=overwrite)
        Path(out).parent.mkdir(parents=True, exist_ok=True)
        replace_file(Path(out), comparison.to_html().encode("utf-8"))
    return comparison
