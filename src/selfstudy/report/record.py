"""The contents of a run folder. The run may still be training, so files may be missing."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from selfstudy import config as cfg
from selfstudy.disk.reading import read_json
from selfstudy.errors import FileRefusedError, first_line
from selfstudy.probes.results import Score, is_number, scores_in
from selfstudy.probes.verdict import Verdict
from selfstudy.runs.folder import RunFolder
from selfstudy.runs.reasons import read_reasons

_MAX_JSON_BYTES = 10_000_000

Line = dict[str, Any]


class Inputs(NamedTuple):
    """A summary of the scan of a run's images.

    Attributes:
        used: the number of images that were trained on.
        formats: the number of images in each file format.
        skipped: the number of inputs that were skipped for each reason.
        sizes: the smallest height and the smallest width, then the largest of each, ``((h, w), (h, w))``; None without
            images.
    """

    used: int
    formats: dict[str, int]
    skipped: dict[str, int]
    sizes: tuple[tuple[int, int], tuple[int, int]] | None


class Judged(NamedTuple):
    """A verdict with the data and the steps of the run that it was given on.

    Attributes:
        verdict: the verdict.
        data: the name of the data that the probes learnt from.
        test: the name of the test data; empty if they were not given separately.
        step: the optimizer steps that the run had taken; None if they were not recorded.
    """

    verdict: Verdict
    data: str
    test: str
    step: int | None


class RunRecord(NamedTuple):
    """One run folder.

    Attributes:
        path: the folder.
        settings: the settings in ``config.yaml``, by dotted key.
        reasons: the reasons of derived settings, by dotted key.
        environment: the content of ``environment.json``; empty without the file.
        metrics: the lines of ``metrics.jsonl``.
        health: the lines of ``health.jsonl``.
        readings: the lines of ``readings.jsonl``.
        evaluations: the lines of ``evaluations.jsonl``; of several that measured the same, only the newest.
        verdicts: the newest verdict on each pair of data sets, the newest last.
        encoder: the content of ``encoder/config.json``; empty before an encoder is saved.
        inputs: the summary of the scan; None for runs on text.
        pictures: the PNG files that the run or its inspection drew.
    """

    path: Path
    settings: dict[str, Any]
    reasons: dict[str, str]
    environment: Line
    metrics: list[Line]
    health: list[Line]
    readings: list[Line]
    evaluations: list[Score]
    verdicts: list[Judged]
    encoder: Line
    inputs: Inputs | None
    pictures: list[Path]

    @property
    def last(self) -> Line:
        """The newest line of metrics; empty without one."""
        return self.metrics[-1] if self.metrics else {}

    @property
    def speed(self) -> tuple[str, float] | None:
        """The unit of the speed, such as ``"images"``, and the median number per second; None without a measurement."""
        names = [name for name, value in self.last.items() if name.endswith("_per_second") and is_number(value)]
        if not names:
            return None
        speeds = sorted(line[names[0]] for line in self.metrics if is_number(line.get(names[0])))
        return names[0].removesuffix("_per_second"), speeds[len(speeds) // 2]


def read_run(folder: RunFolder) -> RunRecord:
    """The contents of a run folder.

    Raises:
        FileRefusedError: a file cannot be read.
    """
    evaluations = folder.lines(folder.evaluations)
    pictures = [folder.views, *sorted(folder.pictures.glob("*.png"))]
    return RunRecord(
        path=folder.path,
        settings=cfg.flatten(cfg.read_yaml(folder.config)),
        reasons=read_reasons(folder),
        environment=_object(folder.environment),
        metrics=folder.lines(folder.metrics),
        health=folder.lines(folder.health),
        readings=folder.lines(folder.readings),
        evaluations=_newest(score for line in evaluations for score in scores_in(line)),
        verdicts=_verdicts(evaluations),
        encoder=_object(folder.encoder / "config.json"),
        inputs=_inputs(folder.inputs),
        pictures=[picture for picture in pictures if picture.is_file()],
    )


def _object(file: Path) -> Line:
    """The JSON object in a file; empty if the file is missing."""
    return read_json(file, _MAX_JSON_BYTES) if file.is_file() else {}


def _newest(scores: Iterable[Score]) -> list[Score]:
    """The newest of all scores that measure the same thing in the same way."""
    return list({(one.features, one.probe, one.data, one.test, one.protocol): one for one in scores}.values())


def _verdicts(lines: Iterable[Line]) -> list[Judged]:
    """The newest verdict on each pair of data sets, the newest last."""
    found: dict[tuple[object, object], Judged] = {}
    for line in lines:
        if isinstance(line.get("sentence"), str):
            data, test, step = line.get("data"), line.get("test"), line.get("step")
            found.pop((data, test), None)
            verdict = Verdict(line.get("verdict", ""), line["sentence"])
            found[data, test] = Judged(
                verdict, str(data or ""), str(test or ""), step if isinstance(step, int) else None
            )
    return list(found.values())


def _inputs(file: Path) -> Inputs | None:
    """The summary of a scan; None without the file."""
    if not file.is_file():
        return None
    try:
        table = pq.read_table(file, columns=["format", "height", "width", "verdict", "reason"])
    except (pa.ArrowException, OSError) as error:
        raise FileRefusedError(f"{file}: not readable as a scan: {first_line(error)}") from None
    is_used = pc.equal(table["verdict"], "used")
    used, skipped = table.filter(is_used), table.filter(pc.invert(is_used))
    return Inputs(len(used), _counts(used["format"]), _counts(skipped["reason"]), _sizes(used))


def _counts(column: pa.ChunkedArray) -> dict[str, int]:
    """The number of times each value occurs, the most frequent first."""
    values = {row["values"]: row["counts"] for row in pc.value_counts(column).to_pylist()}
    return {str(value): count for value, count in Counter(values).most_common()}


def _sizes(used: pa.Table) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """The smallest height and width, then the largest."""
    if not len(used):
        return None
    height, width = (pc.min_max(used[name]).as_py() for name in ("height", "width"))
    return (height["min"], width["min"]), (height["max"], width["max"])
