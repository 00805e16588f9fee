"""Running statistics of normalisation layers, set on data without learning anything."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from selfstudy.nn.modes import evaluation_mode


def layers_with_statistics(network: nn.Module) -> list[_BatchNorm]:
    """The normalisation layers whose running statistics move in training, in the order of the network.

    Layers that the network keeps in evaluation mode, such as a frozen BatchNorm, are not among them.
    """
    with evaluation_mode(network):
        network.train()
        return [one for one in network.modules() if isinstance(one, _BatchNorm) and _moves(one)]


def set_statistics(network: nn.Module, batches: Iterable[Tensor]) -> None:
    """Give each layer of :func:`layers_with_statistics` the statistics of ``batches``; no weight changes.

    BatchNorm begins with means of 0 and variances of 1, and each batch of training moves them by a tenth of the
    distance. So a new network has the statistics of no data. Here every layer gets the average, over all batches, of
    the mean and of the variance in a batch.

    Args:
        network: every part of it has its earlier mode and momentum afterwards.
        batches: batches of inputs on the device of the network, each of two or more examples; without a single one
            the statistics stay as they are.

    Source: Wu & Johnson 2021, arXiv:2105.07576, section 3 ("precise" statistics).
    """
    layers, rest = layers_with_statistics(network), iter(batches)
    first = next(rest, None) if layers else None
    if first is None:
        return
    momenta = [layer.momentum for layer in layers]
    with evaluation_mode(network), torch.no_grad():  # dropout and skipped blocks are off
        for layer in layers:
            layer.reset_running_stats()
            layer.training, layer.momentum = True, None  # None: the average of all batches
        try:
            for batch in chain([first], rest):
                network(batch)
        finally:
            for layer, momentum in zip(layers, momenta, strict=True):
                layer.momentum = momentum


@contextmanager
def statistics_of(network: nn.Module, batches: Iterable[Tensor]) -> Iterator[None]:
    """Give each layer the statistics of ``batches`` inside the block, as :func:`set_statistics`, then its own again."""
    layers = layers_with_statistics(network)
    before = [[buffer.clone() for buffer in layer.buffers(recurse=False)] for layer in layers]
    try:
        set_statistics(network, batches)
        yield
    finally:
        for layer, kept in zip(layers, before, strict=True):
            for buffer, old in zip(layer.buffers(recurse=False), kept, strict=True):
                buffer.copy_(old)


def _moves(layer: _BatchNorm) -> bool:
    """True if batches move the running statistics of a layer."""
    return layer.training and layer.track_running_stats and layer.running_mean is not None
