"""The demonstrations on small data: everything that they promise is there, and what they print can be used."""

import io
import re

import numpy as np
import pyarrow.parquet as pq
from rich.console import Console

from selfstudy import demo


def _console():
    return Console(file=io.StringIO(), width=200)


def test_the_demonstration_on_text_says_what_it_does_and_ends_with_its_use(tmp_path, monkeypatch):
    (tmp_path / "code.txt").write_text("def add(a, b):\n    return a + b\n\n" * 40)
    monkeypatch.setattr(demo, "_TEXT", str(tmp_path / "code.txt"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    console = _console()
    demo.run_text_demo(tmp_path / "out", minutes=0.002, console=console)
    printed = console.file.getvalue()
    assert printed.startswith(f"GPT on {tmp_path / 'code.txt'}, 0.002 minutes\n\n")
    assert "\n'def ' goes on, drawn at temperature 0.5:\n\ndef " in printed
    assert f"run folder           {tmp_path / 'out' / 'text'}\n" in printed
    assert printed.endswith(f"use it:\n\n  selfstudy complete {tmp_path / 'out' / 'text'} 'import '\n")
    assert (tmp_path / "out" / "transformers" / "config.json").is_file()
    assert (tmp_path / "out" / "text" / "report.html").is_file()


def test_the_demonstration_on_images_leaves_embeddings_and_an_export(tmp_path, monkeypatch):
    draw = np.random.default_rng(0)
    arrays = {f"{part}_images": draw.integers(0, 256, (24, 16, 16), dtype=np.uint8) for part in ("train", "test")}
    labels = {f"{part}_labels": np.arange(24) % 2 for part in ("train", "test")}
    np.savez(tmp_path / "small.npz", **arrays, **labels)
    monkeypatch.setattr(demo, "_DATA", str(tmp_path / "small.npz"))
    monkeypatch.setattr(demo, "_SETTINGS", demo._SETTINGS | {"batch_size": 8})
    monkeypatch.setattr(demo, "_TRAINING", 0.002)
    monkeypatch.setattr("selfstudy.images.plan.FEWEST_STEPS", 0)  # else a budget this short is refused
    console = _console()
    demo.run_demo(tmp_path / "out", minutes=0.5, console=console)
    printed = console.file.getvalue()
    title = f"patches, then SimCLR with resnet10t, on {tmp_path / 'small.npz'}: 0.5 minutes in all\n\n"
    assert printed.startswith(title)
    assert f"embeddings   {tmp_path / 'out' / 'embeddings.parquet'}  (24 rows)\n" in printed
    better = re.search("the better encoder is that of (patches|simclr)", printed)[1]
    assert f'encoder = selfstudy.load("{tmp_path / "out" / better}")' in printed
    assert all(f"\n{name}:\nfeatures" in printed for name in ("patches", "simclr"))
    assert pq.read_metadata(tmp_path / "out" / "embeddings.parquet").num_rows == 24
    assert list((tmp_path / "out" / {"patches": "onnx", "simclr": "timm"}[better]).iterdir())
