"""Projection heads: small networks between the encoder and the loss, thrown away after training."""

from torch import nn


def mlp(sizes: list[int], *, norm: bool = True, last_norm: bool = False, last_affine: bool = True) -> nn.Sequential:
    """Linear layers of these sizes with BatchNorm and ReLU between them.

    Args:
        sizes: input, hidden and output widths, e.g. ``[512, 2048, 128]``.
        norm: BatchNorm after every hidden layer (which then has no bias of its own).
        last_norm: BatchNorm after the last layer as well.
        last_affine: whether that last BatchNorm has scale and shift.
    """
    layers: list[nn.Module] = []
    for index, (fan_in, fan_out) in enumerate(zip(sizes, sizes[1:], strict=False)):
        last = index == len(sizes) - 2
        normed = last_norm if last else norm
        layers.append(nn.Linear(fan_in, fan_out, bias=not normed))
        if normed:
            layers.append(nn.BatchNorm1d(fan_out, affine=last_affine or not last))
        if not last:
            layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)
