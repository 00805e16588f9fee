"""Losses of self-distillation, for images and for hidden patches, and one that spreads the embeddings."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from selfstudy.ops.distributed import gather
from selfstudy.ops.precision import full_precision

_EPS = 1e-8  # from the authors' KoLeo, for two equal embeddings


@full_precision
def dino_loss(student: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """Cross entropy of each student view against each other teacher view, averaged over pairs and images.

    Args:
        student: (V, B, K) logits; the first G views are the teacher's.
        targets: (G, B, K) probabilities.
        temperature: temperature of the student, above 0.

    Returns:
        () float32 (float64 for float64 input); ln K for uniform outputs.

    Source: Caron et al. 2021, arXiv:2104.14294, eq. 3. With codes as targets it is SwAV's loss, Caron et al. 2020,
    arXiv:2006.09882, eq. 1 and 2, and eq. 6 for more than two views.
    """
    log_p = F.log_softmax(student / temperature, dim=-1)
    pairs = -torch.einsum("gbk,vbk->gv", targets, log_p) / student.shape[1]  # (G, V)
    own = torch.zeros_like(pairs, dtype=torch.bool).fill_diagonal_(True)
    return pairs.masked_fill(own, 0).sum() / (pairs.numel() - len(pairs))


@full_precision
def ibot_loss(student: Tensor, targets: Tensor, mask: Tensor, temperature: float) -> Tensor:
    """Cross entropy of each hidden patch against the teacher's output for the same patch.

    The loss is averaged over the hidden patches of an image and then over all images; an image without hidden patches
    counts as 0.

    Args:
        student: (M, K) logits of the hidden patches, image by image, in the order of ``tokens[mask]``.
        targets: (M, K) probabilities.
        mask: (B, N) bool, M of them True.
        temperature: temperature of the student, above 0.

    Returns:
        () float32 (float64 for float64 input); for uniform outputs ln K times the share of images with a mask.

    Source: Zhou et al. 2022, arXiv:2111.07832, L_MIM of section 3.1, averaged as in the authors' code.
    """
    losses = -(targets * F.log_softmax(student / temperature, dim=1)).sum(dim=1)  # (M,)
    hidden = mask.sum(dim=1, keepdim=True).expand_as(mask)[mask]  # (M,), in the patch's own image
    return (losses / hidden).sum() / len(mask)


@full_precision
def koleo(embeddings: Tensor) -> Tensor:
    """Minus the mean logarithm of the distance of each embedding to its nearest neighbour; it spreads the embeddings.

    Args:
        embeddings: (B, D) of this process, normalised here; neighbours come from the global batch.

    Returns:
        () float32 (float64 for float64 input).

    Source: Sablayrolles et al. 2019, arXiv:1806.03198, section 3; Oquab et al. 2023, arXiv:2304.07193, section 4.
    """
    x = F.normalize(gather(embeddings), dim=1, eps=_EPS)  # (W B, D)
    nearest = (x.detach() @ x.detach().T).fill_diagonal_(-2).argmax(dim=1)  # (W B,)
    distances = F.pairwise_distance(x, x[nearest], eps=_EPS)
    return -(distances + _EPS).log().mean()


def entropy(probabilities: Tensor) -> Tensor:
    """The mean entropy of probability distributions.

    Args:
        probabilities: (B, K), rows that sum to 1.

    Returns:
        () in nats, in [0, ln K]; ln K for uniform rows.
    """
    return -(probabilities * probabilities.clamp(min=1e-12).log()).sum(dim=1).mean()


def output_count(num_images: int, views_seen: int) -> int:
    """A number of prototypes that suits the data: a power of 2 from 512 to 65,536.

    Each prototype then stands for about 16 images, and is the target of about 128 views during the run.

    Args:
        num_images: images in the data.
        views_seen: views that the run processes, over all epochs.
    """
    return 1 << min(16, max(9, round(math.log2(min(num_images / 16, views_seen / 128)))))
