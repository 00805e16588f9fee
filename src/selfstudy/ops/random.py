"""Random numbers as a pure function of integers: counter-based, without state, the same on all devices and workers.

A number is the SplitMix64 finaliser (Steele, Lea & Flood 2014, doi:10.1145/2660193.2660195) applied to a chain of
counters, e.g. ``(seed, epoch, sample, view)``. Signed 64-bit tensor arithmetic wraps exactly as the unsigned original.
"""

import functools

import torch
from torch import Tensor

_MASK = (1 << 64) - 1
_ENCODER_STREAM = 0x656E63  # separates the initial weights from all other uses of the seed
_GAMMA, _MIX1, _MIX2 = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def _signed(value: int) -> int:
    """The 64-bit pattern of ``value`` as a signed integer, which is what a torch int64 holds."""
    value &= _MASK
    return value - (1 << 64) if value >> 63 else value


def _shift_right(x: Tensor, bits: int) -> Tensor:
    """Logical right shift of int64 (torch's own is arithmetic: it copies the sign bit)."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _mix(x: Tensor) -> Tensor:
    """SplitMix64 of each element."""
    x = x + _signed(_GAMMA)
    x = (x ^ _shift_right(x, 30)) * _signed(_MIX1)
    x = (x ^ _shift_right(x, 27)) * _signed(_MIX2)
    return x ^ _shift_right(x, 31)


def _mix_number(x: int) -> int:
    """SplitMix64 of one unsigned number, a hundred times faster than with a tensor."""
    x = (x + _GAMMA) & _MASK
    x = ((x ^ (x >> 30)) * _MIX1) & _MASK
    x = ((x ^ (x >> 27)) * _MIX2) & _MASK
    return x ^ (x >> 31)


def fold(*counters: int | Tensor) -> Tensor:
    """One int64 key per element from a chain of counters; tensors broadcast against each other.

    Args:
        *counters: integers or int64 tensors, for example ``seed, epoch, samples, view`` with samples (B,).

    Returns:
        int64 in the broadcast shape of the counters, (B,) in the example; () if all are integers.
    """
    key: int | Tensor = 0
    for counter in counters:
        if isinstance(counter, Tensor):
            key = _mix(_as_tensor(key).to(counter.device) ^ counter.to(torch.int64))
        elif isinstance(key, Tensor):
            key = _mix(key ^ _signed(counter))
        else:
            key = _mix_number(key ^ (counter & _MASK))
    return _as_tensor(key)


def _as_tensor(key: int | Tensor) -> Tensor:
    return key if isinstance(key, Tensor) else torch.tensor(_signed(key))


def uniform(keys: Tensor, count: int) -> Tensor:
    """``count`` independent uniform numbers for each key.

    Args:
        keys: (B,) int64.
        count: numbers per key.

    Returns:
        (B, count) float32 in [0, 1), 24 random bits each.
    """
    bits = _mix(keys[:, None] ^ _mixed_numbers(count, keys.device)[None, :])  # (B, count)
    return _shift_right(bits, 40).to(torch.float32) * 2.0**-24


@functools.cache
def _mixed_numbers(count: int, device: torch.device) -> Tensor:
    """SplitMix64 of 0 to ``count`` - 1, which each draw of as many numbers needs."""
    return _mix(torch.arange(count, device=device))


def permutation(n: int, *counters: int) -> Tensor:
    """A permutation of ``range(n)`` that depends on the counters only: (n,) int64."""
    return torch.argsort(fold(*counters, torch.arange(n)), stable=True)


def generator(*counters: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A torch generator seeded from the counters, for random numbers drawn inside a method, such as masks."""
    return torch.Generator(device=device).manual_seed(seed_of(*counters))


def seed_of(*counters: int) -> int:
    """A seed from the counters that all torch generators accept, in [0, 2^63)."""
    return int(fold(*counters)) & (2**63 - 1)


def seed_torch(*counters: int, device: torch.device) -> None:
    """Seed torch's generators of the CPU and of one device from the counters.

    ``torch.manual_seed`` also looks for all other accelerators, which takes a hundredth of a small network's step.
    """
    torch.default_generator.manual_seed(seed_of(*counters))
    if device.type != "cpu":
        torch.get_device_module(device).manual_seed(seed_of(*counters))


def initial_seed(seed: int) -> int:
    """The torch seed of the encoder's initial weights; the untrained twin is rebuilt from it."""
    return seed_of(seed, _ENCODER_STREAM)
