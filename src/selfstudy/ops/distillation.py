"""Losses of a student that learns from its own slowly moving teacher: of images, of hidden patches, of crowding."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from selfstudy.ops.distributed import gather
from selfstudy.ops.precision import full_precision

_EPS = 1e-8  # the authors' in KoLeo, for two images in one place


@full_precision
def dino_loss(student: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """Cross entropy of every student view against every teacher view but its own, averaged over pairs and images.

    Args:
        student: (V, B, K) logits, the teacher's G views first.
        targets: (G, B, K) probabilities.
        temperature: of the student.

    Returns:
        () float32 (float64 for float64 input). With uniform outputs it is ln K.

    Source: Caron et al. 2021, arXiv:2104.14294, eq. 3. With codes as targets it is SwAV's loss, Caron et al. 2020,
    arXiv:2006.09882, eq. 1 and 2, and eq. 6 for more than two views.
    """
    log_p = F.log_softmax(student / temperature, dim=-1)
    pairs = -torch.einsum("gbk,vbk->gv", targets, log_p) / student.shape[1]  # (G, V)
    own = torch.zeros_like(pairs, dtype=torch.bool).fill_diagonal_(True)
    return pairs.masked_fill(own, 0).sum() / (pairs.numel() - len(pairs))


@full_precision
def ibot_loss(student: Tensor, targets: Tensor, mask: Tensor, temperature: float) -> Tensor:
    """Cross entropy of every hidden patch against the same patch as the teacher sees it.

    It is averaged over the hidden patches of an image and then over all images; one with none hidden counts as 0.

    Args:
        student: (M, K) logits of the hidden patches, image by image, as ``tokens[mask]`` gives them.
        targets: (M, K) probabilities.
        mask: (B, N) bool, M of them True.
        temperature: of the student.

    Returns:
        () float32 (float64 for float64 input). With uniform outputs it is ln K times the share of images with a mask.

    Source: Zhou et al. 2022, arXiv:2111.07832, L_MIM of section 3.1, averaged as in the authors' code.
    """
    losses = -(targets * F.log_softmax(student / temperature, dim=1)).sum(dim=1)  # (M,)
    hidden = mask.sum(dim=1, keepdim=True).expand_as(mask)[mask]  # (M,), in the patch's own image
    return (losses / hidden).sum() / len(mask)


@full_precision
def koleo(embeddings: Tensor) -> Tensor:
    """Minus the mean logarithm of the distance of every embedding to its nearest neighbour: the less they crowd.

    Args:
        embeddings: (B, D) of this process, normalised here; neighbours are sought in the global batch.

    Returns:
        () float32 (float64 for float64 input).

    Source: Sablayrolles et al. 2019, arXiv:1806.03198, section 3; Oquab et al. 2023, arXiv:2304.07193, section 4.
    """
    x = F.normalize(gather(embeddings), dim=1, eps=_EPS)  # (W B, D)
    nearest = (x.detach() @ x.detach().T).fill_diagonal_(-2).argmax(dim=1)  # (W B,)
    distances = F.pairwise_distance(x, x[nearest], eps=_EPS)
    return -(distances + _EPS).log().mean()


def entropy(probabilities: Tensor) -> Tensor:
    """Mean entropy () in nats of the rows (B, K): ln K when they say nothing, 0 when they are sure."""
    return -(probabilities * probabilities.clamp(min=1e-12).log()).sum(dim=1).mean()


def output_count(num_images: int, views_seen: int) -> int:
    """How many outputs a teacher's distribution is to have: a power of 2 from 512 to 65,536.

    About 16 images each, and each the target of about 128 views during the run.
    """
    return 1 << min(16, max(9, round(math.log2(min(num_images / 16, views_seen / 128)))))
