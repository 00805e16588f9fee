"""Statistics of a bounded sample, the line that says so, and the inputs from which there can be none."""

import io

import pytest
import torch
from rich.console import Console

from selfstudy.encoders.description import EncoderDescription, write_description
from selfstudy.encoders.whitening import WHITENING
from selfstudy.errors import DataError
from selfstudy.runs.whitening import add_whitening, sample

ABOUT = {"method": "simclr", "weights": "student", "seed": 0, "embed_dim": 4, "sha256": "0" * 64}


@pytest.mark.parametrize(
    ("available", "seen", "wanted"),
    [(60_000, None, 20_000), (60_000, 10**9, 20_000), (60_000, 40_000, 10_000), (60_000, 2, 1_000), (30, 2, 30)],
)
def test_the_sample_is_bounded_by_20_000_and_by_a_quarter_of_what_training_saw(available, seen, wanted):
    positions = sample(available, seen)
    assert len(positions) == len(set(positions)) == wanted and positions == sorted(positions)
    assert positions == sample(available, seen)


def _add(tmp_path, embeddings):
    write_description(tmp_path / "a.json", EncoderDescription(**ABOUT))
    console = Console(file=io.StringIO())
    return add_whitening(embeddings, tmp_path / "a.json", EncoderDescription, unit="images", console=console), console


def test_the_line_says_how_many_inputs_there_were_and_how_long_it_took(tmp_path):
    count, console = _add(tmp_path, (torch.randn(700, 4) for _ in range(3)))
    assert count == 2100
    assert console.file.getvalue().startswith("whitening statistics of 2,100 images in 0.")


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
