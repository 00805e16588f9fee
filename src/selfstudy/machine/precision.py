"""The faster precision for training a network on this CPU, float32 or bfloat16: measured, for no rule predicts it."""

import copy
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

_WORTH = 1.2  # required speed-up, large enough for two runs on a noisy machine to choose the same
_ROUNDS = 3
_LONG = 0.5  # seconds; one round of longer passes is enough


def faster_precision(
    encoder: nn.Module, images: Tensor, *, prepare: Callable[[nn.Module], None] = lambda network: None
) -> tuple[str, str]:
    """``"fp32"`` or ``"bf16"``, and the reason.

    Copies of the network run forward and backward in both precisions. In bfloat16 a transformer of small matrices may
    take twice as long, while a convolutional network takes two thirds of the time.

    Args:
        encoder: the network; it is not changed.
        images: (B, C, H, W) float32, the batch of one pass.
        prepare: changes the copy that runs in bfloat16, in place.
    """
    if not _multiplies_bf16():
        return "fp32", "this processor has no bfloat16 arithmetic"
    with torch.random.fork_rng(devices=[]):
        single, half = (copy.deepcopy(encoder).train().to(memory_format=torch.channels_last) for _ in range(2))
        prepare(half)
        ratio = _ratio(_training_pass(single, images, half=False), _training_pass(half, images, half=True))
    faster = ratio >= _WORTH
    return ("bf16", "tried: faster on this processor") if faster else ("fp32", "tried: bf16 is not faster here")


def _multiplies_bf16() -> bool:
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16"))


def _ratio(*passes: Callable[[], None]) -> float:
    """The time of the first of two passes divided by that of the second: the best of a few rounds, taken in turn."""
    slow = [_seconds(one) for one in passes][0] > _LONG  # this round also warms both up
    rounds = [[_seconds(one) for one in passes] for _ in range(1 if slow else _ROUNDS)]
    return min(first for first, _ in rounds) / min(second for _, second in rounds)


def _training_pass(encoder: nn.Module, images: Tensor, *, half: bool) -> Callable[[], None]:
    def run() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            output = encoder(images)
        output.float().square().mean().backward()
        encoder.zero_grad(set_to_none=True)

    return run


def _seconds(run: Callable[[], None]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began
