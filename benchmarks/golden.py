"""Six short runs, reduced to digests: a change that claims no numeric effect must leave every digest as it is.

::

    python benchmarks/golden.py runs/before --out before.json   # on the commit before the change
    python benchmarks/golden.py runs/after --against before.json  # on the commit after it, on the same machine

Each run trains 20 steps in float32 on data that the package ships, is evaluated, and embeds a few inputs. A digest
covers the last checkpoint's tensors, the loss of every step, every score, and the embeddings. Digests of two machines
differ: processors round differently.
"""

import argparse
import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from safetensors.numpy import load_file

import selfstudy

IMAGES = {"encoder": "resnet10t", "image_size": 28, "batch_size": 32}
PATCHES = IMAGES | {"encoder": "vit_tiny_patch16_224", "set": {"encoder.patch_size": 7}}
TEXT = {"batch_size": 8, "context": 64, "set": {"encoder.width": 32, "encoder.depth": 2, "encoder.heads": 2}}
RUNS = {"simclr": IMAGES, "dino": PATCHES, "mae": PATCHES, "bert": TEXT, "gpt": TEXT, "simcse": TEXT}
ALL = {"steps": 20, "precision": "fp32", "device": "cpu", "seed": 0, "workers": 0}
TOPICS = {"animals": "cat dog fox hen owl", "numbers": "one two three four five"}


def texts() -> list[str]:
    """240 short made-up documents on two topics."""
    draw = np.random.default_rng(0)
    words = list(TOPICS.values())
    return [" ".join(draw.choice(words[i % 2].split(), 40)) + f" {i}" for i in range(240)]


def text_table(folder: Path) -> Path:
    """The same documents with their topics, as a table."""
    file = folder / "texts.tsv"
    rows = [f"{list(TOPICS)[i % 2]}\t{text}" for i, text in enumerate(texts())]
    file.write_text("label\ttext\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return file


def digest(arrays: dict[str, np.ndarray]) -> str:
    """SHA-256 of named arrays, in the order of their names."""
    found = hashlib.sha256()
    for name in sorted(arrays):
        found.update(name.encode())
        found.update(np.ascontiguousarray(arrays[name]).tobytes())
    return found.hexdigest()


def digest_of_values(file: Path) -> str:
    """SHA-256 of the tensors in a file, for any names and order: a new name is no numeric effect."""
    parts = sorted(hashlib.sha256(np.ascontiguousarray(array).tobytes()).digest() for array in load_file(file).values())
    return hashlib.sha256(b"".join(parts)).hexdigest()


def measured(method: str, folder: Path) -> dict[str, str]:
    """The digests of one run, made in ``folder``."""
    is_text = RUNS[method] is TEXT
    settings = ALL | RUNS[method]
    settings["set"] = {"train.log_every": 1} | settings.get("set", {})
    if is_text:
        settings["set"] |= {"data.cache": str(folder / "cache"), "train.compile": False}
    data = texts() if is_text else "sample:digits"
    labelled = text_table(folder) if is_text else data
    run = selfstudy.pretrain(data, method=method, out=folder / method, overwrite=True, **settings)
    scores = selfstudy.evaluate(run.folder, labelled, probe=["knn", "linear", "low-shot", "retrieval"])
    run.embed(labelled, folder / f"{method}.parquet", overwrite=True)
    checkpoint = max((run.folder / "checkpoints").glob("step-*"))
    losses = [json.loads(line)["loss"] for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    vectors = np.stack(pq.read_table(folder / f"{method}.parquet")["embedding"].to_pylist())
    values = {f"{score.features} {score.probe}": np.array(score.accuracy) for score in scores}
    return {
        "weights": digest_of_values(checkpoint / "model.safetensors"),
        "optimizer": digest_of_values(checkpoint / "optimizer.safetensors"),
        "losses": digest({"loss": np.array(losses)}),
        "scores": digest(values),
        "embeddings": digest({"vectors": vectors}),
    }


def main() -> None:
    """Print the digests; exit with 1 where they differ from those of ``--against``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder for the runs")
    parser.add_argument("--out", type=Path, help="JSON file to write the digests into")
    parser.add_argument("--against", type=Path, help="JSON file of an earlier call, to compare with")
    parser.add_argument("--methods", nargs="*", default=list(RUNS), choices=list(RUNS))
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    found = {method: measured(method, asked.folder) for method in asked.methods}
    if asked.out:
        asked.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    before = json.loads(asked.against.read_text(encoding="utf-8")) if asked.against else {}
    different = 0
    for method, digests in found.items():
        for part, value in digests.items():
            note = "" if not before else "same" if before[method][part] == value else "DIFFERENT"
            different += note == "DIFFERENT"
            print(f"{method:8} {part:11} {value[:16]} {note}")
    sys.exit(1 if different else 0)


if __name__ == "__main__":
    main()
