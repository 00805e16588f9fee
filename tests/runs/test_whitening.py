"""Statistics of a bounded sample, the line that says so, and the inputs from which there can be none."""

import io

import pytest
import torch
from rich.console import Console

from selfstudy.encoders.description import EncoderDescription, write_description
from selfstudy.encoders.whitening import WHITENING
from selfstudy.errors import DataError
from selfstudy.ops.duration import Duration
from selfstudy.runs.whitening import add_whitening, allowance, sample

ABOUT = {"method": "simclr", "weights": "student", "seed": 0, "embed_dim": 4, "sha256": "0" * 64}


@pytest.mark.parametrize(
    ("duration", "seen", "wanted"),
    [
        ("10 epochs", 10**9, (20_000, None)),
        ("10 epochs", 40_000, (5_000, None)),
        ("2 steps", 8, (1_000, None)),
        ("3 minutes", 8, (20_000, 9.0)),
    ],
)
def test_the_end_of_a_run_costs_a_share_of_its_minutes_or_of_the_inputs_that_it_saw(duration, seen, wanted):
    assert allowance(Duration.parse(duration), seen) == wanted


def test_a_sample_is_the_same_every_time_and_not_the_first_inputs():
    positions = sample(60_000)
    assert len(positions) == len(set(positions)) == 20_000 and positions == sample(60_000)
    assert 29_000 < sum(positions) / 20_000 < 31_000
    assert sample(60_000, 7) == positions[:7]


def _add(tmp_path, embeddings, seconds=None):
    write_description(tmp_path / "a.json", EncoderDescription(**ABOUT))
    console = Console(file=io.StringIO())
    settings = {"seconds": seconds, "unit": "images", "console": console}
    return add_whitening(embeddings, tmp_path / "a.json", EncoderDescription, **settings), console


def test_the_line_says_how_many_inputs_there_were_and_how_long_it_took(tmp_path):
    count, console = _add(tmp_path, (torch.randn(700, 4) for _ in range(3)))
    assert count == 2100
    assert console.file.getvalue().startswith("whitening statistics of 2,100 images in 0.")


def test_no_batch_is_asked_for_after_the_time(tmp_path):
    assert _add(tmp_path, (torch.randn(700, 4) for _ in range(3)), seconds=0.0)[0] == 700
    assert _add(tmp_path, (torch.randn(700, 4) for _ in range(3)), seconds=60.0)[0] == 2100


@pytest.mark.parametrize(
    ("embeddings", "says"),
    [
        ([], "whitening statistics need at least 2 images, found 0\ngive more of them"),
        ([torch.ones(1, 4)], "whitening statistics need at least 2 images, found 1\ngive more of them"),
        ([torch.tensor([[1.0] * 4, [torch.inf] * 4])], "whitening statistics need finite embeddings"),
        ([torch.ones(9, 4)], "whitening statistics need different embeddings; all images have the same"),
    ],
)
def test_nothing_is_written_where_there_can_be_no_statistics(tmp_path, embeddings, says):
    with pytest.raises(DataError) as caught:
        _add(tmp_path, embeddings)
    assert str(caught.value).startswith(says)
    assert not (tmp_path / WHITENING).exists()
