"""The facts about a run on which the verdict of an evaluation rests."""

from selfstudy import config as cfg
from selfstudy.disk.reading import read_json
from selfstudy.methods import available
from selfstudy.probes.results import Results, is_number
from selfstudy.probes.verdict import Facts, Reading, Split, judge
from selfstudy.runs.folder import RunFolder

_MAX_JSON_BYTES = 1_000_000
_SOLVED = "no gradient"  # the family of methods that are solved and not trained by steps


def judged(folder: RunFolder, results: Results, split: Split) -> Results:
    """The results of an evaluation with their verdict, if there is one; both are added to ``evaluations.jsonl``.

    Args:
        folder: the run folder.
        results: the scores with the names of their data.
        split: the labelled examples.

    Raises:
        FileRefusedError: a file of the run is damaged.
    """
    verdict = judge(facts_of(folder, results, split))
    folder.append(folder.evaluations, (score.line() for score in results))
    if verdict is None:
        return results
    about = results.scores[0]
    folder.append(folder.evaluations, [verdict.line(about.data, about.test, step=about.step)])
    return Results(results.scores, verdict.sentence)


def facts_of(folder: RunFolder, results: Results, split: Split) -> Facts:
    """The facts about an evaluation and its run.

    Args:
        folder: the run folder.
        results: the scores of the evaluation.
        split: the labelled examples.

    Raises:
        FileRefusedError: a file of the run is damaged.
    """
    method = available().get(str(cfg.read_yaml(folder.config).get("method", {}).get("name")))
    environment = read_json(folder.environment, _MAX_JSON_BYTES) if folder.environment.is_file() else {}
    health = folder.lines(folder.health)
    readings = [line for line in folder.lines(folder.readings) if is_number(line.get("value"))]
    probe = next((line.get("probe") for line in reversed(readings)), None)  # whitened k-NN, where it was read
    own = [line for line in readings if line.get("probe") == probe and is_number(line.get("seconds"))]
    free = [line["value"] for line in readings if line.get("probe") == probe and line.get("free")]
    return Facts(
        results.scores,
        split,
        seen=method is not None
        and method.needs == "labels"
        and split.fingerprint == environment.get("data_fingerprint"),
        health=str(health[-1].get("verdict", "")) if health else "",
        steps=steps_of(folder),
        solved=method is not None and method.family == _SOLVED,
        readings=[Reading(line["seconds"], line["value"]) for line in own],
        bar=max(free, default=None),
    )


def steps_of(folder: RunFolder) -> int | None:
    """The optimizer steps that a run has logged; None without a log."""
    logged = [line["step"] for line in folder.lines(folder.metrics)[-1:] if isinstance(line.get("step"), int)]
    return logged[0] if logged else None
