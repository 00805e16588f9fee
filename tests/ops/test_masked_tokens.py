"""The tokens to hide, and their replacements."""

import torch

from selfstudy.ops.masked_tokens import drawn_tokens, hidden_positions, noised, special_tokens


def _draws(rows, length, seed=0):
    return torch.rand(rows, length, generator=torch.Generator().manual_seed(seed))


def test_the_table_of_special_tokens_ignores_missing_ones():
    assert special_tokens(6, [0, None, 3]).tolist() == [True, False, False, True, False, False]
    assert not special_tokens(6, [None]).any()


def test_the_smallest_draws_choose_by_hand():
    draws, never = torch.tensor([[0.9, 0.1, 0.5, 0.3]]), torch.tensor([[False, True, False, False]])
    assert hidden_positions(draws, never, 2).tolist() == [[3, 2]]
    assert hidden_positions(draws, never, 4).tolist() == [[3, 2, 0, 1]]


def test_every_ordinary_token_is_hidden_equally_often():
    never = torch.zeros(8000, 10, dtype=torch.bool)
    never[:, 0] = True
    hidden = hidden_positions(_draws(8000, 10), never, 3)
    shares = torch.bincount(hidden.flatten(), minlength=10) / 8000
    assert shares[0] == 0 and (shares[1:] - 1 / 3).abs().max() < 0.02


def test_whole_words_are_chosen_word_by_word():
    begins = torch.tensor([[True, False, False, True, True, False]]).expand(500, 6)
    never = torch.zeros(500, 6, dtype=torch.bool)
    hidden = torch.zeros(500, 6, dtype=torch.bool).scatter(1, hidden_positions(_draws(500, 6), never, 3, begins), True)
    words = [hidden[:, 0:3], hidden[:, 3:4], hidden[:, 4:6]]
    whole = torch.stack([word.all(dim=1) for word in words]).sum(dim=0)
    partly = torch.stack([word.any(dim=1) & ~word.all(dim=1) for word in words]).sum(dim=0)
    assert (hidden.sum(dim=1) == 3).all() and (partly <= 1).all() and (whole >= 1).all()


def test_shares_of_masks_of_other_tokens_and_of_the_token_itself():
    ids = torch.full((1, 40_000), 7)
    ordinary = torch.arange(10, 20)
    shown = noised(ids, _draws(1, 40_000), _draws(1, 40_000, 1), mask=4, ordinary=ordinary, keep=0.1, random=0.1)
    shares = {name: float((shown == number).float().mean()) for name, number in (("mask", 4), ("kept", 7))}
    others = shown[(shown != 4) & (shown != 7)]
    assert abs(shares["mask"] - 0.8) < 0.01 and abs(shares["kept"] - 0.1) < 0.01
    assert set(others.tolist()) == set(range(10, 20))


def test_draws_of_exactly_their_bounds_stay_in_the_vocabulary():
    ids, fate, other = torch.tensor([[7]]), torch.tensor([[0.5]]), torch.tensor([[1.0]])
    shown = noised(ids, fate, other, mask=4, ordinary=torch.tensor([9]), keep=0.0, random=1.0)
    assert shown.tolist() == [[9]]


def test_tokens_are_drawn_with_their_probabilities():
    logits = torch.tensor([0.5, 0.3, 0.2]).log().expand(1, 20_000, 3)
    shares = torch.bincount(drawn_tokens(logits, _draws(1, 20_000)).flatten(), minlength=3) / 20_000
    torch.testing.assert_close(shares, torch.tensor([0.5, 0.3, 0.2]), atol=0.01, rtol=0)
    assert drawn_tokens(logits[:, :3], torch.tensor([[0.0, 0.5, 1.0]])).tolist() == [[0, 1, 2]]
