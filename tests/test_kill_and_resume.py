"""Tests with real kill -9 at random moments: the resumed run ends bit-identical to a run that was never killed.

A server process imports everything and does nothing else. It forks a child per attempt, so an attempt takes
milliseconds and does not import again. The test process itself must not fork: torch's threads and compilers do not
survive a fork once they were used.
"""

import hashlib
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import torch

from selfstudy import api
from selfstudy.methods import available, method_class
from selfstudy.methods.solved import SolvedMethod
from tests.compiler import require_compiler
from tests.small_data import write_corpus, write_photos

STEPS = 24
SETTINGS = {
    "image_size": 16,
    "batch_size": 8,
    "steps": STEPS,
    "precision": "fp32",
    "device": "cpu",
}

THOROUGH = ["simclr", "moco", "barlow_twins", "dino"]  # no state, a queue, gathered statistics, a centre
BRIEFLY = ["swav", "nnclr", "ibot", "data2vec"]  # prototypes, neighbours, masks and two centres, block targets
TEXT = ["bert", "gpt", "simcse"]
TIMES = int(os.environ.get("SELFSTUDY_KILLS", "1"))  # 2 gives 20 kills per method
CASES = [*((m, 0, 10 * TIMES) for m in [*THOROUGH, *TEXT]), *((m, 2, 5) for m in THOROUGH)]
CASES += [(m, 0, 2) for m in [*BRIEFLY, "gpt compiled"]]
CASES += [("patches", 0, 5 * TIMES)]  # solved: two stages instead of steps


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return write_photos(tmp_path_factory.mktemp("photos"), count=20, size=(20, 24))


def _train_on_text(photos: Path, out: Path, method: str, *, compiled: bool) -> None:
    """Train on the corpus next to the photos, in a child. The first child that is killed may be tokenising it."""
    corpus = write_corpus(out.parent / "corpus")
    small = {"encoder.width": 16, "encoder.depth": 2, "encoder.heads": 2, "data.cache": str(out.parent / "cache")}
    overrides = {"train.checkpoint_every": "1 steps", "train.compile": compiled, **small}
    given = {"steps": STEPS, "batch_size": 8, "precision": "fp32", "device": "cpu", "context": 24, "tokenizer": "byte"}
    api.pretrain(corpus, method=method, out=out, resume=True, set=overrides, **given)


def _train(photos: Path, out: Path, method: str, workers: int) -> None:
    """Train in a child."""
    torch.set_num_threads(1)
    method, _, compiled = method.partition(" ")
    if available()[method].needs == "text":
        return _train_on_text(photos, out, method, compiled=bool(compiled))
    if issubclass(method_class(method), SolvedMethod):
        api.pretrain(photos, method=method, out=out, resume=True, epochs=1, image_size=16, device="cpu")
        return None
    overrides = {"train.checkpoint_every": "1 steps", "data.cache_gigabytes": 0 if workers else "auto"}
    encoder = "test_vit" if available()[method].needs == "tokens" else "resnet10t"
    given = {"method": method, "encoder": encoder, "workers": workers, "set": overrides, **SETTINGS}
    api.pretrain(photos, out=out, resume=True, **given)


def _attempt(photos: Path, out: Path, method: str, workers: int) -> None:
    """Start a child in its own process group, so that its workers are killed with it."""
    os.setpgid(0, 0)
    _train(photos, out, method, workers)


@contextmanager
def _child(photos: Path, out: Path, method: str, workers: int) -> Iterator[multiprocessing.process.BaseProcess]:
    """Run a child; at the end of the block it is killed with its workers."""
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload([__name__])
    child = server.Process(target=_attempt, args=(photos, out, method, workers))
    child.start()
    try:
        with suppress(ProcessLookupError):
            while os.getpgid(child.pid) != child.pid:
                time.sleep(0.001)
        yield child
    finally:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.join()


def _finish(photos: Path, out: Path, method: str, workers: int) -> None:
    with _child(photos, out, method, workers) as child:
        child.join()
        assert child.exitcode == 0


def _digest(out: Path) -> str:
    """Return the digest of the final model and optimizer files."""
    last = max((out / "checkpoints").glob("step-*"))
    files = [last / "model.safetensors", last / "optimizer.safetensors", out / "encoder" / "model.safetensors"]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def _kill_until_done(photos: Path, out: Path, method: str, workers: int, kills: int) -> int:
    """Kill children at random moments until ``kills`` died, let one finish, and return the number that were killed."""
    began = time.monotonic()
    _finish(photos, out.with_name("timed"), method, workers)
    duration = time.monotonic() - began
    chance, killed, longest = random.Random(kills), 0, duration / 4
    while killed < kills:
        with _child(photos, out, method, workers) as child:
            child.join(chance.uniform(0.02, longest))
            finished = child.exitcode is not None
        if finished:
            out = _fresh(out, killed)
            continue
        killed += 1
        longest = min(longest * 1.1, duration)
    _finish(photos, out, method, workers)
    return killed


def _fresh(out: Path, number: int) -> Path:
    """Return a new folder if the run finished before the last kill; the finished run is checked first."""
    return out.with_name(f"{out.name}-{number}")


@pytest.mark.slow
@pytest.mark.timeout(300 * TIMES)
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # torch's own, as it compiles
@pytest.mark.parametrize(("method", "workers", "kills"), CASES)
def test_kills_at_random_moments_leave_no_trace(photos, tmp_path, method, workers, kills):
    if method.endswith(" compiled"):
        require_compiler()
    _finish(photos, tmp_path / "straight", method, workers)
    wanted = _digest(tmp_path / "straight")
    assert _kill_until_done(photos, tmp_path / "killed", method, workers, kills) == kills
    runs = [path for path in tmp_path.iterdir() if path.name.startswith("killed")]
    assert [_digest(run) for run in runs] == [wanted] * len(runs)
