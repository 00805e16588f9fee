"""Which of float32 and bfloat16 trains a network faster on this processor: measured, since nothing else tells."""

import copy
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

_WORTH = 1.2  # times faster, so that two runs on a noisy machine choose alike
_ROUNDS = 3
_LONG = 0.5  # seconds; of longer passes one round is enough


def faster_precision(
    encoder: nn.Module, images: Tensor, *, prepare: Callable[[nn.Module], None] = lambda network: None
) -> tuple[str, str]:
    """``"fp32"`` or ``"bf16"``, and the reason: forward and backward passes of a copy, timed both ways.

    A transformer of small matrices may take twice as long in bfloat16 where a convolutional network takes two thirds.

    Args:
        encoder: left as it is.
        images: (B, C, H, W) float32, as many as a pass is to have.
        prepare: changes a network in place as its bfloat16 passes want it.
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
    """Seconds of the first of two passes over those of the second, the best of a few of each, taken in turn."""
    slow = [_seconds(one) for one in passes][0] > _LONG  # and both are warm
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
