import pytest
import torch

from selfstudy.ops.random import fold, generator, permutation, seed_of, seed_torch, uniform


def _splitmix64(state):
    """The reference algorithm in plain integers: the first output from this state."""
    mask = (1 << 64) - 1
    z = (state + 0x9E3779B97F4A7C15) & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return z ^ (z >> 31)


@pytest.mark.parametrize("value", [0, 1, 1234567, 2**63 + 5, 2**64 - 1])
def test_fold_is_splitmix64(value):
    assert int(fold(value)) & (2**64 - 1) == _splitmix64(value)


@pytest.mark.parametrize("chain", [(5, -3, 2**64 - 1), (0, 2**63, 7), (1,)])
def test_numbers_and_tensors_of_one_element_give_the_same_key(chain):
    one_by_one = [torch.tensor([value - (value >> 63 << 64 if value > 0 else 0)]) for value in chain]
    for tensors in range(len(chain) + 1):  # whichever of them are tensors
        mixed = [*chain[: len(chain) - tensors], *one_by_one[len(chain) - tensors :]]
        assert int(fold(*mixed)) == int(fold(*chain))


def test_seeding_draws_what_torchs_own_seeding_draws():
    torch.manual_seed(seed_of(2**40 + 1, 3))
    expected = torch.rand(3)
    seed_torch(2**40 + 1, 3, device=torch.device("cpu"))
    assert torch.equal(torch.rand(3), expected)


def test_keys_stay_on_the_device_of_their_counters():
    samples = torch.zeros(3, dtype=torch.int64, device="meta")
    assert fold(0, samples, 1).device.type == "meta" and uniform(fold(samples, 2), 4).device.type == "meta"


def test_splitmix64_gives_its_published_first_output():
    """For seed 1234567 the reference implementation begins with this number."""
    assert _splitmix64(1234567) == 6457827717110365317


def test_every_counter_and_their_order_matter():
    keys = {int(fold(*chain)) for chain in [(1, 2, 3), (3, 2, 1), (1, 2), (1, 2, 4), (0, 1, 2, 3)]}
    assert len(keys) == 5


def test_numbers_are_uniform_and_independent_across_keys_and_places():
    draws = uniform(fold(0, torch.arange(50_000)), 4).double()
    assert 0 <= draws.min() and draws.max() < 1
    assert torch.allclose(draws.mean(0), torch.tensor(0.5).double(), atol=0.005)
    assert torch.allclose(draws.var(0), torch.tensor(1 / 12).double(), atol=0.002)
    assert (torch.corrcoef(draws.T) - torch.eye(4)).abs().max() < 0.02
    assert abs(torch.corrcoef(torch.stack([draws[:-1, 0], draws[1:, 0]]))[0, 1]) < 0.02


def test_a_number_depends_on_its_key_alone():
    keys = fold(7, torch.arange(10))
    assert torch.equal(uniform(keys, 3)[4:5], uniform(keys[4:5], 3))


def test_permutations_are_permutations_and_differ_by_epoch():
    first, second = permutation(1000, 5, 0), permutation(1000, 5, 1)
    assert first.sort().values.tolist() == list(range(1000))
    assert torch.equal(first, permutation(1000, 5, 0)) and not torch.equal(first, second)


def test_generators_follow_their_counters():
    draws = [torch.rand(3, generator=generator(*c)) for c in [(1, 2), (1, 2), (2, 1)]]
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])
