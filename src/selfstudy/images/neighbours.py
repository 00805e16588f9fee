"""Nearest neighbours among embeddings, and the images nearest to a prototype."""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

_CHUNK = 256  # embeddings scored at once: 64 MiB against 65,536 prototypes


def nearest(embeddings: Tensor, queries: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The nearest other images by cosine: cosines float32 and rows int64, (Q, count) each, the nearest first.

    Args:
        embeddings: (N, D), any scale.
        queries: (Q,) int64 rows of ``embeddings``.
        count: the number of neighbours of each query, at most N - 1.
    """
    unit = F.normalize(embeddings.float(), dim=1)
    cosines = unit[queries] @ unit.T  # (Q, N)
    cosines.scatter_(1, queries[:, None], float("-inf"))  # not the image itself
    found, rows = cosines.topk(count, dim=1)
    return found, rows


class Prototype(NamedTuple):
    """A prototype and its images.

    Attributes:
        number: its row among all prototypes.
        chosen_by: the number of images with the highest score for it.
        best: the rows of the images with the highest scores for it, the best first.
    """

    number: int
    chosen_by: int
    best: list[int]


def most_used(
    score: Callable[[Tensor], Tensor], embeddings: Tensor, *, prototypes: int, images: int
) -> list[Prototype]:
    """The prototypes that most images choose, the most used first; unused ones are left out.

    Args:
        score: a function from embeddings (B, D) to scores (B, K).
        embeddings: (N, D).
        prototypes: the largest number of prototypes.
        images: the largest number of images for each.
    """
    parts = torch.split(embeddings, _CHUNK)  # every score of every image would be N x K numbers
    first = torch.cat([score(part).argmax(dim=1) for part in parts])  # (N,)
    counts = torch.bincount(first)
    used = counts.argsort(descending=True, stable=True)[: min(prototypes, int((counts > 0).sum()))]
    scores = torch.cat([score(part)[:, used] for part in parts])  # (N, P)
    best = scores.topk(min(images, len(embeddings)), dim=0).indices.T  # (P, images)
    return [Prototype(int(k), int(counts[k]), rows.tolist()) for k, rows in zip(used, best, strict=True)]
