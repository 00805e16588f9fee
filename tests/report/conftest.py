import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from selfstudy.probes.results import Score

CONFIG = """\
data:
  path: photos
  image_size: 32  # the median side
method:
  name: {method}
  temperature: 0.5
encoder:
  name: resnet10t
train:
  duration: 40 steps
  seed: {seed}
  workers: {workers}
"""
PROTOCOL = "k-NN k=20, 100 train / 50 test"


def score(features, value, *, probe="knn", protocol=PROTOCOL, **more):
    return Score(features, probe, value, protocol, **more)


@pytest.fixture
def make_run(tmp_path):
    """Writes a run folder of two logged steps by hand: every file a report reads, with values known to the test."""

    def make(
        name, *, method="simclr", seed=0, workers=0, scores=(), lines=(), fingerprint="f" * 64, loss=2.0, more_config=""
    ):
        folder = tmp_path / name
        (folder / "encoder").mkdir(parents=True)
        config = CONFIG.format(method=method, seed=seed, workers=workers) + more_config
        (folder / "config.yaml").write_text(config, encoding="utf-8")
        environment = {"versions": {"torch": "2.14.1"}, "processors": 2, "data_fingerprint": fingerprint}
        (folder / "environment.json").write_text(json.dumps(environment), encoding="utf-8")
        logged = [
            {"step": step, "total": 40, "loss": value, "images_per_second": 100.0 * step, "time": 1.0}
            for step, value in ((20, 4.0), (40, loss))
        ]
        _write_lines(folder / "metrics.jsonl", logged)
        reading = {"step": 40, "effective_rank": 12.5, "dimension_std": 0.5, "alignment": None, "chance_loss": 5.5}
        reading |= {"verdict": "healthy", "message": "healthy: effective rank 12"}
        _write_lines(folder / "health.jsonl", [reading])
        _write_lines(folder / "evaluations.jsonl", [*(one.line() for one in scores), *lines])
        about = {"weights": "student", "embed_dim": 512}
        (folder / "encoder" / "config.json").write_text(json.dumps(about), encoding="utf-8")
        columns = {
            "format": ["PNG", "PNG", "JPEG", None],
            "height": [30, 40, 35, 0],
            "width": [60, 50, 55, 0],
            "verdict": ["used", "used", "used", "skipped"],
            "reason": ["", "", "", "truncated"],
        }
        pq.write_table(pa.table(columns), folder / "inputs.parquet")
        Image.new("RGB", (4, 4)).save(folder / "views.png")
        return folder

    return make


def _write_lines(file, lines):
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
