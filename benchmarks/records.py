"""Records of measured runs, one JSON file each, and the tables made from them; the programs of this folder share it.

A record is written when its run is over; the record of a failed run has its message. A program that was stopped
continues with the first run that has no record. An interrupted run leaves no record and starts again from the
beginning, so all runs have the same minutes.
"""

import json
import os
import platform
import statistics
import subprocess
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import torch

from selfstudy.errors import EnvironmentFault, Interrupted, SelfstudyError
from selfstudy.probes.results import Results

Record = dict[str, Any]
PRETRAINED, UNTRAINED = "pretrained encoder", "untrained encoder"
NONE = "–"
_TRACE_LINES = 6


class Task(NamedTuple):
    """One run to measure: the name of its record, its settings, and the folder of its data on this machine."""

    name: str
    facts: Record
    folder: str = ""


def run_all(tasks: Sequence[Task], out: Path, measure: Callable[[Task, Record], None]) -> int:
    """Measure every task that has no record yet, and return the number of runs that failed now.

    Args:
        tasks: the runs, in the order in which they are measured.
        out: the folder of the records; it is created if it is missing.
        measure: a function that fills the given record; if it fails, the record keeps its content so far.

    Raises:
        SystemExit: a signal arrived; the interrupted run is measured again next time.
        EnvironmentFault: the machine has a problem, which says nothing about a method.
    """
    failures = 0
    for number, task in enumerate(tasks, 1):
        file = out / f"{task.name}.json"
        if file.exists():
            print(f"[{number}/{len(tasks)}] {task.name}: already recorded", flush=True)
            continue
        print(f"[{number}/{len(tasks)}] {task.name}", flush=True)
        record: Record = {**task.facts, "circumstances": circumstances()}
        try:
            measure(task, record)
        except Interrupted as stopped:
            print("stopped; the same command continues with this run", flush=True)
            raise SystemExit(stopped.exit_code) from None
        except EnvironmentFault:
            raise
        except Exception as error:  # an error of a method is a result, and must not stop the other runs
            failures += 1
            record["failed"] = _failure(error)
            print(f"         failed: {record['failed']['message']}", flush=True)
        save(file, record)
    return failures


def _failure(error: Exception) -> dict[str, str]:
    """Return kind and message of an error; for an error that was not raised on purpose also its trace."""
    found = {"kind": type(error).__name__, "message": str(error) or type(error).__name__}
    if not isinstance(error, SelfstudyError):
        found["trace"] = "".join(traceback.format_exception(error)[-_TRACE_LINES:])
    return found


def save(file: Path, record: Record) -> None:
    """Write a record atomically: after a kill there is a complete file or none."""
    file.parent.mkdir(parents=True, exist_ok=True)
    staged = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    with staged.open("w", encoding="utf-8") as handle:
        handle.write(json.dumps(record, indent=1) + "\n")
        handle.flush()
        os.fsync(handle.fileno())
    staged.replace(file)


def load(folder: Path) -> list[Record]:
    """Return every record of a folder, sorted by file name."""
    files = sorted(file for file in folder.glob("*.json") if not file.name.startswith("."))
    return [json.loads(file.read_text(encoding="utf-8")) for file in files]


def circumstances() -> Record:
    """Return the circumstances of a run: commit, date, versions, hardware."""
    return {
        "commit": _commit(),
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in ("selfstudy", "torch", "torchvision", "timm", "lightning-fabric")},
        "hardware": {"processors": _processors(), "model": _processor_model(), "threads": torch.get_num_threads()},
    }


def _commit() -> str | None:
    """Return the commit of this repository, with ``-dirty`` if tracked files differ from it."""
    command = ["git", "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    try:
        here = Path(__file__).parent
        return subprocess.run(command, cwd=here, capture_output=True, text=True, timeout=30, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def _processors() -> int:
    """Return the number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _processor_model() -> str:
    """Return the model name of the processor, or its architecture if the system does not give the name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def grouped(records: Iterable[Record], key: Callable[[Record], tuple[Any, ...]]) -> dict[tuple[Any, ...], list[Record]]:
    """Return the records grouped by key, with sorted keys."""
    groups: dict[tuple[Any, ...], list[Record]] = {}
    for record in sorted(records, key=key):
        groups.setdefault(key(record), []).append(record)
    return groups


def recorded(results: Results) -> list[Record]:
    """The scores of an evaluation as records have always held them."""
    names = ("features", "probe", "accuracy", "protocol", "spread")
    return [{name: getattr(score, name) for name in names} for score in results]


def accuracies(records: Iterable[Record], features: str, probe: str) -> list[float]:
    """Return one accuracy in percent of every record that has it; ``features`` may be a prefix of the name."""
    return [
        score["accuracy"]
        for record in records
        for score in record.get("scores", [])
        if score["features"].startswith(features) and score["probe"] == probe
    ]


def mean_sd(values: Sequence[float], digits: int = 1) -> str:
    """Return the mean as text; with two or more values also the sample standard deviation.

    >>> mean_sd([50.0]), mean_sd([49.0, 50.0, 51.0]), mean_sd([])
    ('50.0', '50.0 ± 1.0', '–')
    """
    if not values:
        return NONE
    mean = f"{statistics.mean(values):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.{digits}f}"


def middle(records: Iterable[Record], key: str) -> str:
    """Return the median of a number over the records that have it, rounded to an integer.

    >>> middle([{"steps": 300}, {"steps": 310}, {}], "steps")
    '305'
    """
    values = [record[key] for record in records if record.get(key) is not None]
    return f"{statistics.median(values):,.0f}" if values else NONE


def counts(words: Iterable[str]) -> str:
    """Return the different words in order of appearance; a repeated word comes with its count.

    >>> counts(["healthy", "watch", "healthy"]), counts(["healthy"])
    ('healthy ×2, watch', 'healthy')
    """
    counted = Counter(words)
    if len(counted) == 1:
        return next(iter(counted))
    return ", ".join(word if number == 1 else f"{word} ×{number}" for word, number in counted.items()) or NONE


def failure_note(records: Sequence[Record]) -> str:
    """Return ``failed: why`` if all runs of a group failed, ``1 of 3 failed: why`` if some did, otherwise nothing."""
    messages = [record["failed"]["message"].splitlines()[0] for record in records if "failed" in record]
    if not messages:
        return ""
    share = "" if len(messages) == len(records) else f"{len(messages)} of {len(records)} "
    return f"{share}failed: {'; '.join(dict.fromkeys(messages))}"


def markdown(rows: Sequence[Mapping[str, str]]) -> str:
    """Return rows, all with the same keys, as a Markdown table."""
    cells = [list(rows[0]), ["---"] * len(rows[0]), *(list(row.values()) for row in rows)]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in cells)


def fine_print(records: Sequence[Record]) -> str:
    """Return the text under a table: hardware, versions, commits, dates, and every protocol once."""
    where = [record["circumstances"] for record in records]
    hardware = _once(f"{c['hardware']['processors']} cores of {c['hardware']['model']}" for c in where)
    torches = _once(c["versions"]["torch"] for c in where)
    commits = _once((c["commit"] or "unknown")[:12] + "-dirty" * str(c["commit"]).endswith("dirty") for c in where)
    dates = sorted(c["date"][:10] for c in where)
    span = dates[0] if dates[0] == dates[-1] else f"{dates[0]} to {dates[-1]}"
    protocols = dict.fromkeys(score["protocol"] for record in records for score in record.get("scores", []))
    measured = f"Measured on {hardware}, torch {torches}, commit {commits}, {span}; ± is the sd over seeds."
    return "\n".join([measured, "", *(f"- {protocol}" for protocol in protocols)])


def _once(words: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(words))
