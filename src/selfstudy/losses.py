"""Every loss as a plain function of tensors, to import when you write a method or a lesson.

The docstring of each function gives the shapes, the source and the number of the equation.

>>> import torch
>>> from selfstudy.losses import nt_xent
>>> round(float(nt_xent(torch.ones(8, 3), temperature=0.5)), 4)  # eight equal views: ln 7
1.9459
"""

from selfstudy.methods.barlow_twins import barlow_twins_loss as barlow_twins
from selfstudy.methods.data2vec import data2vec_loss as data2vec
from selfstudy.methods.fastsiam import fastsiam_loss as fastsiam
from selfstudy.methods.ijepa import ijepa_loss as ijepa
from selfstudy.methods.lejepa import invariance as lejepa_invariance
from selfstudy.methods.mae import mae_loss as mae
from selfstudy.methods.msn import msn_loss as msn
from selfstudy.methods.simmim import simmim_loss as simmim
from selfstudy.methods.vicreg import vicreg_loss as vicreg
from selfstudy.methods.w_mse import w_mse_loss as w_mse
from selfstudy.ops.alignment import negative_cosine, normalized_mse
from selfstudy.ops.contrastive import (
    decoupled_contrastive,
    info_nce,
    info_nce_in_batch,
    nt_xent,
    supervised_contrastive,
)
from selfstudy.ops.distillation import dino_loss as dino
from selfstudy.ops.distillation import dino_loss as swav
from selfstudy.ops.distillation import ibot_loss as ibot
from selfstudy.ops.distillation import koleo
from selfstudy.ops.sigreg import sigreg
from selfstudy.ops.sinkhorn import sinkhorn

__all__ = [
    "barlow_twins",
    "data2vec",
    "decoupled_contrastive",
    "dino",
    "fastsiam",
    "ibot",
    "ijepa",
    "info_nce",
    "info_nce_in_batch",
    "koleo",
    "lejepa_invariance",
    "mae",
    "msn",
    "negative_cosine",
    "normalized_mse",
    "nt_xent",
    "sigreg",
    "simmim",
    "sinkhorn",
    "supervised_contrastive",
    "swav",
    "vicreg",
    "w_mse",
]
