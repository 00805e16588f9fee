"""Check that exported text encoders open in other versions of transformers and sentence-transformers.

``make`` trains every layout for three steps, exports it, and stores its outputs. ``check`` does not need selfstudy. It
opens every export with the libraries of its own environment, and compares the outputs::

    python benchmarks/open_exports.py make FOLDER
    OTHER/bin/python benchmarks/open_exports.py check FOLDER

The program prints a table of the largest differences. The exit code is 1 if a weight is missing or unused, or if an
output differs.
"""

import argparse
import json
import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch

os.environ["HF_HUB_OFFLINE"] = "1"

RUNS = (
    ("bert", "modernbert", "bpe"),
    ("bert", "bert", "wordpiece"),
    ("bert", "roberta", "char"),
    ("gpt", "gpt2", "byte"),
    ("gpt", "llama", "bpe"),
    ("simcse", "modernbert", "bpe"),
    ("simcse", "bert", "wordpiece"),
    ("simcse", "roberta", "char"),
)
OPENED_BY = {
    "bert": ("AutoModelForMaskedLM", "fill-mask", "[MASK] ball"),
    "gpt": ("AutoModelForCausalLM", "text-generation", "red ball"),
    "simcse": ("AutoModel", None, None),
}
WORDS = ("red", "green", "blue", "round", "square", "large", "small", "ball", "box", "cup")
TEXTS = ["red ball", "cup", "a small blue box", "round, green"]
CONTEXT = 24
TOLERANCE = 1e-5
REFERENCE = "reference.npz"


def make(folder: Path, runs: tuple[tuple[str, str, str], ...] = RUNS) -> None:
    """Train and export every layout under ``folder``, and store its outputs in the same place."""
    import selfstudy

    folder.mkdir(parents=True, exist_ok=True)
    draw = random.Random(0)
    corpus = folder / "corpus.txt"
    corpus.write_text("".join(" ".join(draw.choices(WORDS, k=8)) + ".\n" for _ in range(200)), encoding="utf-8")
    small = {"encoder.width": 32, "encoder.depth": 2, "encoder.heads": 2, "data.context": CONTEXT}
    small |= {"data.cache": str(folder / "cache"), "data.documents": "line"}
    quick: dict[str, Any] = {"steps": 3, "batch_size": 4, "device": "cpu", "precision": "fp32", "overwrite": True}
    for method, layout, tokenizer in runs:
        here = folder / f"{method}-{layout}"
        settings = small | {"data.tokenizer": tokenizer}
        run = selfstudy.pretrain(
            corpus, method=method, encoder=f"{layout}-tiny", out=here / "run", set=settings, **quick
        )
        for target in ("transformers", "sentence-transformers"):
            run.export(target, here / target)
        np.savez(here / REFERENCE, **_computed_here(run.encoder, head=method != "simcse"))
        said = _said_by_pipeline(here / "transformers", method)
        (here / "said.json").write_text(json.dumps({"method": method, "said": said}) + "\n", encoding="utf-8")


def _computed_here(embedder: Any, *, head: bool) -> dict[str, np.ndarray]:
    """Return rows of random tokens, their logits (states without a head), and the vectors of :data:`TEXTS`."""
    ids = torch.randint(6, embedder.encoder.vocabulary.size, (4, CONTEXT), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        states = embedder.encoder.states(ids.to(embedder.device))
        output = embedder.encoder.logits(states) if head else states
    return {"ids": ids.numpy(), "output": output.cpu().numpy(), "vectors": embedder.embed(TEXTS)}


def _said_by_pipeline(folder: Path, method: str) -> Any:
    """Return the output of the method's pipeline: the best token with its probability, or the continuation, or None."""
    import transformers as hf

    _, task, text = OPENED_BY[method]
    if task is None:
        return None
    options = {"top_k": 1} if task == "fill-mask" else {"max_new_tokens": 5, "do_sample": False}
    (said,) = hf.pipeline(task, str(folder), device="cpu")(text, **options)
    return [said["token_str"], said["score"]] if task == "fill-mask" else [said["generated_text"], 0.0]


def check(here: Path) -> dict[str, str]:
    """Return the table row of one exported encoder, opened with the libraries of this environment.

    Args:
        here: a folder that :func:`make` wrote.

    Returns:
        The name, the largest differences, and the fault (empty if there is none).
    """
    reference, known = np.load(here / REFERENCE), json.loads((here / "said.json").read_text(encoding="utf-8"))
    output, left = _output(here / "transformers", known["method"], reference["ids"])
    differences = {"output": float(np.abs(output - reference["output"]).max())}
    said = _said_by_pipeline(here / "transformers", known["method"])
    if said is not None:
        differences["pipeline"] = abs(said[1] - known["said"][1]) if said[0] == known["said"][0] else float("nan")
    vectors = _vectors(here / "sentence-transformers")
    if vectors is not None:
        differences["vectors"] = float(np.abs(vectors - reference["vectors"]).max())
    faults = [f"{name} differ" for name, value in differences.items() if not value <= TOLERANCE] + left
    shown = {
        name: f"{differences[name]:.1e}" if name in differences else "–" for name in ("output", "pipeline", "vectors")
    }
    return {"encoder": here.name, **shown, "fault": "; ".join(faults)}


def _output(folder: Path, method: str, ids: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Return the logits or states that transformers computes, and its list of missing and unused weights."""
    import transformers as hf

    auto = OPENED_BY[method][0]
    model_type = json.loads((folder / "config.json").read_text(encoding="utf-8"))["model_type"]
    unpooled = {"add_pooling_layer": False} if auto == "AutoModel" and model_type in ("bert", "roberta") else {}
    model, report = getattr(hf, auto).from_pretrained(folder, output_loading_info=True, **unpooled)
    with torch.inference_mode():
        made = model.eval()(input_ids=torch.from_numpy(ids))
    output = made.last_hidden_state if auto == "AutoModel" else made.logits
    return output.float().numpy(), [f"{what}: {sorted(names)}" for what, names in report.items() if names]


def _vectors(folder: Path) -> np.ndarray | None:
    """Return the vectors of :data:`TEXTS` by sentence-transformers, or None if it is not installed."""
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError:
        return None
    vectors: np.ndarray = SentenceTransformer(str(folder), device="cpu").encode(TEXTS, show_progress_bar=False)
    return vectors


def versions() -> str:
    """Return the names and versions of the libraries that open the directories."""
    from importlib.metadata import PackageNotFoundError, version

    found = []
    for name in ("transformers", "tokenizers", "torch", "sentence-transformers"):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"no {name}")
    return ", ".join(found)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["make", "check"])
    parser.add_argument("folder", type=Path)
    given = parser.parse_args(arguments)
    if given.what == "make":
        make(given.folder)
        return
    rows = [check(file.parent) for file in sorted(given.folder.glob(f"*/{REFERENCE}"))]
    if not rows:
        raise SystemExit(
            f"{given.folder} holds no exports\nmake them with: python benchmarks/open_exports.py make FOLDER"
        )
    print(f"\n{versions()}\n")
    for row in rows:
        print(
            f"{row['encoder']:<20}" + "".join(f"{row[name]:>10}" for name in ("output", "pipeline", "vectors")),
            row["fault"],
        )
    raise SystemExit(any(row["fault"] for row in rows))


if __name__ == "__main__":
    main()
