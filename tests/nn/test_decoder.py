"""The decoder: what it depends on and what it does not."""

import torch

from selfstudy.nn.decoder import PatchDecoder

GRID = (2, 4)


def _decoder():
    torch.manual_seed(0)
    return PatchDecoder(6, 5, width=16, depth=2, heads=2)


def _case():
    tokens = torch.randn(3, 4, 6, generator=torch.Generator().manual_seed(1))
    return tokens, torch.tensor([[0, 3, 5, 6]]).expand(3, 4), torch.tensor([[1, 2, 4, 7]]).expand(3, 4)


def test_it_gives_one_vector_for_every_wanted_patch():
    tokens, known, wanted = _case()
    assert _decoder()(tokens, known, wanted[:, :3], GRID).shape == (3, 3, 5)


def test_the_order_of_patches_does_not_matter():
    decoder, (tokens, known, wanted) = _decoder(), _case()
    plain = decoder(tokens, known, wanted, GRID)
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(decoder(tokens[:, order], known[:, order], wanted, GRID), plain)
    torch.testing.assert_close(decoder(tokens, known, wanted[:, order], GRID), plain[:, order])


def test_places_tell_wanted_patches_apart_and_known_tokens_matter():
    decoder, (tokens, known, wanted) = _decoder(), _case()
    plain = decoder(tokens, known, wanted, GRID)
    assert (plain[:, 0] - plain[:, 1]).abs().max() > 1e-3
    assert (decoder(tokens, known.roll(1, dims=1), wanted, GRID) - plain).abs().max() > 1e-4
    assert (decoder(tokens + 1, known, wanted, GRID) - plain).abs().max() > 1e-3
