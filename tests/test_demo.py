"""The demonstrations on small data: everything that they promise is there, and what they print can be used."""

import io

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
    monkeypatch.setattr("selfstudy.images.plan.FEWEST_STEPS", 0)  # else a budget this short is refused
    console = _console()
    demo.run_demo(tmp_path / "out", minutes=0.002, console=console)
    printed = console.file.getvalue()
    assert printed.startswith(f"SimCLR on {tmp_path / 'small.npz'}, resnet10t, 0.002 minutes\n\n")
    assert f"embeddings   {tmp_path / 'out' / 'embeddings.parquet'}  (24 rows)\n" in printed
    assert f'encoder = selfstudy.load("{tmp_path / "out" / "run"}")' in printed
    assert pq.read_metadata(tmp_path / "out" / "embeddings.parquet").num_rows == 24
    assert list((tmp_path / "out" / "timm").iterdir())
