import hashlib
import json
import math
import struct

import numpy as np
import pytest
import torch
from safetensors import safe_open

from selfstudy.errors import DataError, EnvironmentFault, FileRefusedError, UsageError
from selfstudy.text import language
from selfstudy.text.language import (
    LanguageFigures,
    accumulate,
    hide,
    load_mask_set,
    mask_set,
    save_mask_set,
    stream_digest,
)

TOKENS = np.arange(1000, dtype=np.uint16) % 60


def losses(n, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(n, generator=generator) * 8, torch.rand(n, generator=generator) < 0.4


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_figures_of_a_hand_case():
    parts = [(torch.tensor([1.0, 3.0]), torch.tensor([True, False])), (torch.tensor([2.0]), torch.tensor([False]))]
    figures = accumulate(parts, text_bytes=12)
    assert figures == LanguageFigures(2.0, 3, 12, pytest.approx(100 / 3))
    assert figures.perplexity == pytest.approx(math.e**2)
    assert figures.bits_per_byte == pytest.approx(6 / math.log(2) / 12)


def test_a_uniform_guess_over_bytes_costs_eight_bits_a_byte():
    figures = accumulate([(torch.full((100,), math.log(256)), None)], text_bytes=100)
    assert figures.bits_per_byte == pytest.approx(8) and figures.perplexity == pytest.approx(256)


def test_bits_per_byte_do_not_depend_on_how_many_tokens_spell_the_text():
    few = accumulate([(torch.tensor([2.0, 4.0]), None)], text_bytes=9)
    many = accumulate([(torch.tensor([1.0, 1.0, 1.5, 2.5]), None)], text_bytes=9)
    assert few.bits_per_byte == pytest.approx(many.bits_per_byte) and few.perplexity != many.perplexity


def test_however_the_text_is_cut_in_parts_the_figures_are_the_same():
    values, hits = losses(1000)
    whole = accumulate([(values, hits)], 5000)
    for size in (1, 7, 300):
        cut = accumulate(zip(values.split(size), hits.split(size), strict=True), 5000)
        assert cut.nats_per_token == pytest.approx(whole.nats_per_token, rel=1e-14) and cut[1:] == whole[1:]


def test_sums_do_not_lose_small_losses_among_many():
    # in float32 a sum of 2^24 ones does not grow any more
    parts = ((torch.ones(2**18), None) for _ in range(65))
    assert accumulate(parts, 1).nats_per_token == 1.0
    half = torch.full((5000,), 1.1, dtype=torch.bfloat16)
    assert accumulate([(half, None)], 1).nats_per_token == pytest.approx(float(half[0]), rel=1e-14)


def test_accuracy_is_known_only_where_every_part_was_counted():
    values, hits = losses(10)
    assert accumulate([(values, hits), (values, hits)], 1).accuracy == pytest.approx(10 * float(hits.sum()))
    assert accumulate([(values, hits), (values, None)], 1).accuracy is None
    assert accumulate([(values, None), (values, hits)], 1).accuracy is None


def test_a_perplexity_beyond_float64_is_infinite():
    assert accumulate([(torch.tensor([1e4]), None)], 1).perplexity == math.inf


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_is_refused(bad):
    with pytest.raises(DataError, match="the loss of 3 held-out tokens is not finite"):
        accumulate([(torch.tensor([1.0, bad]), None), (torch.tensor([-bad]), None)], 1)


@pytest.mark.parametrize(
    ("parts", "text_bytes"), [([], 5), ([(torch.zeros(0), None)], 5), ([(torch.ones(2), None)], 0)]
)
def test_nothing_predicted_is_refused(parts, text_bytes):
    with pytest.raises(DataError, match="nothing was predicted"):
        accumulate(parts, text_bytes)


def slow_mask_set(rows, row_length, hidden, seed):
    """One row at a time from its own draws."""
    out = []
    for row in range(rows):
        draws = language.uniform(language.fold(seed, language._STREAM, torch.tensor([row])), row_length)[0].tolist()
        out.append(sorted(sorted(range(row_length), key=lambda t: draws[t])[:hidden]))
    return out


def test_the_positions_are_those_of_the_slow_loop_in_parts_of_any_size(monkeypatch):
    expected = slow_mask_set(7, 100, 15, 3)
    for chunk in (1, 250, 2**22):
        monkeypatch.setattr(language, "_CHUNK", chunk)
        assert mask_set(799, 100, 0.15, 3).positions.tolist() == expected


@pytest.mark.parametrize(
    ("row_length", "rate", "hidden"), [(128, 0.15, 19), (10, 0.15, 2), (512, 0.4, 205), (2, 0.5, 1)]
)
def test_every_row_hides_the_same_number_of_different_positions(row_length, rate, hidden):
    positions = mask_set(50 * row_length, row_length, rate, 0).positions
    assert positions.shape == (50, hidden) and positions.dtype == torch.int32
    assert all(len(set(row)) == hidden and row == sorted(row) for row in positions.tolist())
    assert positions.min() >= 0 and positions.max() < row_length


def test_a_row_is_a_function_of_seed_and_number_alone():
    short, long = mask_set(400, 100, 0.15, 0), mask_set(1234, 100, 0.15, 0)
    assert torch.equal(long.positions[:4], short.positions) and len(long.positions) == 12
    assert not torch.equal(mask_set(400, 100, 0.15, 1).positions, short.positions)
    assert len({tuple(row) for row in long.positions.tolist()}) == 12


def test_every_position_is_hidden_at_the_rate():
    counts = torch.bincount(mask_set(2000 * 20, 20, 0.25, 0).positions.flatten(), minlength=20)
    assert counts.sum() == 2000 * 5
    # 2000 x 0.25 = 500, standard deviation 19
    assert 420 < counts.min() and counts.max() < 580


@pytest.mark.parametrize(("row_length", "rate"), [(128, 0.0), (128, 1.0), (128, -0.1), (2, 0.15), (128, math.nan)])
def test_a_rate_that_hides_nothing_or_all_is_refused(row_length, rate):
    with pytest.raises(UsageError, match="a rate of .* hides"):
        mask_set(1000, row_length, rate, 0)


def test_a_stream_shorter_than_a_row_is_refused():
    with pytest.raises(DataError, match="held-out text of 99 tokens, rows of 100: not one whole row"):
        mask_set(99, 100, 0.15, 0)


def test_hidden_tokens_are_always_replaced_and_handed_back():
    rows = torch.tensor([[10, 11, 12, 13], [20, 21, 22, 23]])
    inputs, targets = hide(rows, torch.tensor([[0, 3], [1, 2]], dtype=torch.int32), mask_id=4)
    assert inputs.tolist() == [[4, 11, 12, 4], [20, 4, 4, 23]] and targets.tolist() == [[10, 13], [21, 22]]
    assert rows[0, 0] == 10


def test_the_protocol_names_what_was_asked():
    assert mask_set(1000, 100, 0.15, 7).protocol == (
        "masked: 15 of every 100 tokens hidden, always by [MASK], stored set (seed 7), 10 rows"
    )


def test_the_digest_is_that_of_the_ids_however_wide_they_are_stored_and_cut():
    expected = hashlib.sha256(b"".join(struct.pack("<I", token) for token in TOKENS.tolist())).hexdigest()
    assert stream_digest([TOKENS]) == stream_digest([TOKENS.astype(">i8")]) == expected
    assert stream_digest(np.array_split(TOKENS.astype(np.uint32), 7)) == expected
    assert stream_digest([TOKENS[::-1]]) != expected


@pytest.fixture
def stored(tmp_path):
    masks = mask_set(len(TOKENS), 100, 0.15, -7)
    save_mask_set(masks, tmp_path / "masks.safetensors", digest=stream_digest([TOKENS]))
    return masks, tmp_path / "masks.safetensors"


def test_a_stored_set_comes_back_as_it_was(stored):
    masks, path = stored
    loaded = load_mask_set(path, digest=stream_digest([TOKENS]))
    assert loaded[:4] == masks[:4] and torch.equal(loaded.positions, masks.positions)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_another_program_finds_everything_in_the_file(stored):
    masks, path = stored
    with safe_open(path, framework="np") as file:
        about, positions = file.metadata(), file.get_tensor("positions")
    assert positions.tolist() == masks.positions.tolist()
    assert about == {
        "format": "selfstudy mask set",
        "format_version": "1",
        "stream_sha256_uint32_le": stream_digest([TOKENS]),
        "store_length": "1000",
        "row_length": "100",
        "rate": "0.15",
        "seed": "-7",
    }


def test_a_set_for_another_text_is_refused(stored):
    digest = stream_digest([TOKENS[:-1]])
    with pytest.raises(FileRefusedError, match=f"a mask set for another text .*, this is {digest[:12]}"):
        load_mask_set(stored[1], digest=digest)


def test_a_missing_or_damaged_file_is_refused(stored):
    path = stored[1]
    with pytest.raises(FileRefusedError, match="no stored mask set is here"):
        load_mask_set(path.with_name("other"), digest="")
    whole = path.read_bytes()
    for damaged in (b"", whole[:50], whole[:-1], b"not a file of ours", json.dumps({"positions": [[1]]}).encode()):
        path.write_bytes(damaged)
        with pytest.raises(FileRefusedError, match="not a stored mask set"):
            load_mask_set(path, digest=stream_digest([TOKENS]))


@pytest.mark.parametrize(
    "change",
    [
        {"positions": torch.tensor([[0, 100]] * 10, dtype=torch.int32)},
        {"positions": torch.tensor([[-1, 5]] * 10, dtype=torch.int32)},
        {"positions": torch.tensor([[5, 5]] * 10, dtype=torch.int32)},
        {"positions": torch.tensor([[1, 5]] * 9, dtype=torch.int32)},
        {"positions": torch.tensor([[1, 5]] * 10)},
        {"positions": torch.zeros(10, 0, dtype=torch.int32)},
        {"row_length": 0},
        {"store_length": "many"},
    ],
    ids=["beyond the row", "negative", "twice", "a row too few", "other type", "none", "no rows", "no number"],
)
def test_positions_that_cannot_be_are_refused(stored, change):
    masks, path = stored
    save_mask_set(masks._replace(**change), path, digest="d")
    with pytest.raises(FileRefusedError, match="not a stored mask set"):
        load_mask_set(path, digest="d")


def test_a_newer_version_is_refused(stored, monkeypatch):
    monkeypatch.setattr(language, "FORMAT_VERSION", 0)
    with pytest.raises(FileRefusedError, match="'selfstudy mask set' version 1, not 0"):
        load_mask_set(stored[1], digest=stream_digest([TOKENS]))


def test_a_disk_that_refuses_is_named_and_leaves_nothing(stored, tmp_path):
    with pytest.raises(EnvironmentFault, match="cannot write .*No such file or directory"):
        save_mask_set(stored[0], tmp_path / "missing" / "masks.safetensors", digest="d")
