"""Every loss as a plain function of tensors: what one imports to write a method, or a lesson, of one's own.

>>> import torch
>>> from selfstudy.losses import nt_xent
>>> round(float(nt_xent(torch.ones(8, 3), temperature=0.5)), 4)  # eight equal views: ln 7
1.9459
"""

from selfstudy.methods.barlow_twins import barlow_twins_loss as barlow_twins
from selfstudy.methods.dino import dino_loss as dino
from selfstudy.ops.contrastive import info_nce, nt_xent
from selfstudy.ops.sinkhorn import sinkhorn

__all__ = ["barlow_twins", "dino", "info_nce", "nt_xent", "sinkhorn"]
