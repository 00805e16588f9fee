"""LightlySSL's training of six methods, as its own documentation describes it, with an encoder of selfstudy.

The module follows two documents of version 1.6. ``example`` is ``examples/pytorch/METHOD.py``. ``cifar10`` is the
CIFAR-10 benchmark, ``docs/source/getting_started/benchmarks/cifar10_benchmark.py``, which adds momentum, weight
decay and a cosine schedule, and has no MAE. Losses, heads, transforms and momentum updates are lightly's own modules.
Three decisions are not in the documents:

- Heads use the encoder's own dimension; the documents use 512, the dimension of ResNet-18.
- The examples of SwAV, DINO and MAE are written for 224 px. At 32 px they use the transforms of the CIFAR-10 benchmark
  (two crops, no blur), and MAE uses ``MAETransform(32)``.
- Schedules count epochs (10 in the examples, 200 in the benchmark). Here an epoch is a share of the budget, because a
  few minutes contain only one or two real epochs: the example would freeze DINO's last layer for most of the time.
"""

import copy
import math
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from lightly.data import LightlyDataset
from lightly.loss import BarlowTwinsLoss, DINOLoss, NegativeCosineSimilarity, NTXentLoss, SwaVLoss
from lightly.models import utils
from lightly.models.modules import (
    BarlowTwinsProjectionHead,
    BYOLPredictionHead,
    BYOLProjectionHead,
    DINOProjectionHead,
    MaskedVisionTransformerDecoderTIMM,
    MaskedVisionTransformerTIMM,
    SimCLRProjectionHead,
    SwaVProjectionHead,
    SwaVPrototypes,
)
from lightly.models.modules.heads import ProjectionHead
from lightly.models.modules.masked_vision_transformer_timm import init_weights
from lightly.transforms import (
    BYOLTransform,
    BYOLView1Transform,
    BYOLView2Transform,
    DINOTransform,
    MAETransform,
    SimCLRTransform,
    SwaVTransform,
)
from lightly.transforms.utils import IMAGENET_NORMALIZE
from lightly.utils.scheduler import cosine_schedule
from torch import Tensor, nn
from torch.utils.data import DataLoader

NORMALIZATION = (IMAGENET_NORMALIZE["mean"], IMAGENET_NORMALIZE["std"])
_SCHEDULE_STEPS = 10_000  # resolution at which a share of training is mapped to lightly's schedule function


class Peer(nn.Module):
    """Base class of lightly's methods; each trains ``encoder``."""

    def __init__(self, encoder: Any, recipe: "Recipe") -> None:
        super().__init__()
        self.encoder, self.recipe, self.dim = encoder, recipe, encoder.embed_dim

    def forward(self, views: list[Tensor], fraction: float) -> Tensor:
        """Return the loss () of one batch; ``fraction`` of the training is done."""
        raise NotImplementedError

    def before_step(self, fraction: float) -> None:
        """Run between the backward pass and the optimizer step."""

    def optimizer(self) -> torch.optim.Optimizer:
        """Return the document's optimizer for the trained parameters."""
        return self.recipe.optimizer([p for p in self.parameters() if p.requires_grad])

    def learning_rate(self, fraction: float) -> float:
        """Return the factor on the optimizer's learning rate."""
        return 0.5 * (1 + math.cos(math.pi * fraction)) if self.recipe.document == "cifar10" else 1.0

    def epoch(self, fraction: float) -> int:
        """Return the document's epoch at a share of the budget."""
        return int(fraction * (200 if self.recipe.document == "cifar10" else 10))

    def momentum(self, fraction: float) -> float:
        """Return the share of the teacher that the document keeps per step."""
        if self.recipe.document == "cifar10":
            return 0.99
        return cosine_schedule(round(fraction * _SCHEDULE_STEPS), _SCHEDULE_STEPS, 0.996, 1.0)


class Recipe(NamedTuple):
    """A document's recipe for a method: class, batch size, optimizer and transform."""

    document: str
    method: type[Peer]
    batch_size: int
    optimizer: Callable[..., torch.optim.Optimizer]
    transform: Callable[[int], Any]


class SimCLR(Peer):
    """SimCLR."""

    def __init__(self, encoder: Any, recipe: Recipe) -> None:
        super().__init__(encoder, recipe)
        self.projection_head = SimCLRProjectionHead(self.dim, 512, 128)
        self.criterion = NTXentLoss()

    def forward(self, views: list[Tensor], fraction: float) -> Tensor:
        """See :class:`Peer`."""
        first, second = (self.projection_head(self.encoder(view)) for view in views)
        return self.criterion(first, second)


class BarlowTwins(Peer):
    """Barlow Twins; the benchmark's head has two layers instead of three."""

    def __init__(self, encoder: Any, recipe: Recipe) -> None:
        super().__init__(encoder, recipe)
        two_layers = [(self.dim, 2048, nn.BatchNorm1d(2048), nn.ReLU(inplace=True)), (2048, 2048, None, None)]
        short = recipe.document == "cifar10"
        self.projection_head = ProjectionHead(two_layers) if short else BarlowTwinsProjectionHead(self.dim, 2048, 2048)
        self.criterion = BarlowTwinsLoss()

    def forward(self, views: list[Tensor], fraction: float) -> Tensor:
        """See :class:`Peer`."""
        first, second = (self.projection_head(self.encoder(view)) for view in views)
        return self.criterion(first, second)


class BYOL(Peer):
    """BYOL; the teacher moves before each step."""

    def __init__(self, encoder: Any, recipe: Recipe) -> None:
        super().__init__(encoder, recipe)
        self.projection_head = BYOLProjectionHead(self.dim, 1024, 256)
        self.prediction_head = BYOLPredictionHead(256, 1024, 256)
        self.encoder_momentum = copy.deepcopy(self.encoder)
        self.projection_head_momentum = copy.deepcopy(self.projection_head)
        utils.deactivate_requires_grad(self.encoder_momentum)
        utils.deactivate_requires_grad(self.projection_head_momentum)
        self.criterion = NegativeCosineSimilarity()

    def forward(self, views: list[Tensor], fraction: float) -> Tensor:
        """See :class:`Peer`."""
        momentum = self.momentum(fraction)
        utils.update_momentum(self.encoder, self.encoder_momentum, m=momentum)
        utils.update_momentum(self.projection_head, self.projection_head_momentum, m=momentum)
        predicted = [self.prediction_head(self.projection_head(self.encoder(view))) for view in views]
        targets = [self.projection_head_momentum(self.encoder_momentum(view)).detach() for view in views]
        return 0.5 * (self.criterion(predicted[0], targets[1]) + self.criterion(predicted[1], targets[0]))


class SwaV(Peer):
    """SwAV without a queue."""

    def __init__(self, encoder: Any, recipe: Recipe) -> None:
        super().__init__(encoder, recipe)
        self.projection_head = SwaVProjectionHead(self.dim, 512, 128)
        self.prototypes = SwaVPrototypes(128, n_prototypes=512)
        self.criterion = SwaVLoss()

    def forward(self, views: list[Tensor], fraction: float) -> Tensor:
        """See :class:`Peer`."""
        self.prototypes.normalize()
        projected = [F.normalize(self.projection_head(self.encoder(view)), dim=1) for view in views]
        scores = [self.prototypes(projection) for projection in projected]
        return self.criterion(scores[:2], scores[2:]).squeeze()


class DINO(Peer):
    """DINO; both documents build a new head for the teacher and do not copy the student's head."""

    def __init__(self, encoder: Any, recipe: Recipe) -> None:
        super().__init__(encoder, recipe)
        freeze = {} if recipe.document == "cifar10" else {"freeze_last_layer": 1}
        warmup = {} if recipe.document == "cifar10" else {"warmup_teacher_temp_epochs": 5}
        self.head, self.teacher_head = self._head(**freeze), self._head()
        self.teacher = copy.deepcopy(self.encoder)
        utils.deactivate_requires_grad(self.teacher)
        utils.deactivate_requires_grad(self.teacher_head)
        self.criterion = DINOLoss(output_dim=2048, **warmup)

    def _head(self, **options: int) -> nn.Module:
        if self.recipe.document == "example":
            return DINOProjectionHead(self.dim, 512, 64, 2048, **options)
        head = DINOProjectionHead(self.dim, 2048, 256, 2048, batch_norm=True)
        two_layers = [(self.dim, 2048, nn.BatchNorm1d(2048), nn.GELU()), (2048, 256, None, None)]
        head.layers = ProjectionHead(two_layers).layers
        return head

    def forward(self, views: list[Tensor], fraction: float) -> Tensor:
        """See :class:`Peer`."""
        momentum = self.momentum(fraction)
        utils.update_momentum(self.encoder, self.teacher, m=momentum)
        utils.update_momentum(self.head, self.teacher_head, m=momentum)
        teacher = [self.teacher_head(self.teacher(view)) for view in views[:2]]
        student = [self.head(self.encoder(view)) for view in views]
        return self.criterion(teacher, student, epoch=self.epoch(fraction))

    def before_step(self, fraction: float) -> None:
        """See :class:`Peer`."""
        self.head.cancel_last_layer_gradients(current_epoch=self.epoch(fraction))


class MAE(Peer):
    """MAE on the encoder's own timm network; lightly initialises its weights again."""

    def __init__(self, encoder: Any, recipe: Recipe) -> None:
        super().__init__(encoder, recipe)
        network, width = encoder.network, 512
        self.patch_size = network.patch_embed.patch_size[0]
        self.masked = MaskedVisionTransformerTIMM(vit=network)
        self.decoder_embed = nn.Linear(self.dim, width)
        self.decoder = MaskedVisionTransformerDecoderTIMM(
            num_patches=network.patch_embed.num_patches,
            embed_dim=width,
            depth=1,
            num_heads=16,
            num_prefix_tokens=network.num_prefix_tokens,
            mlp_ratio=4.0,
            proj_drop_rate=0.0,
            attn_drop_rate=0.0,
        )
        self.prediction_head = nn.Linear(width, self.patch_size**2 * network.patch_embed.proj.in_channels)
        self.decoder_embed.apply(init_weights)
        self.prediction_head.apply(init_weights)
        self.criterion = nn.MSELoss()

    def forward(self, views: list[Tensor], fraction: float) -> Tensor:
        """See :class:`Peer`."""
        images, length = views[0], self.masked.sequence_length
        keep, masked = utils.random_token_mask(size=(len(images), length), mask_ratio=0.75, device=images.device)
        encoded = self.decoder_embed(self.masked.encode(images=images, idx_keep=keep))  # (B, K, W)
        tokens = utils.set_at_index(encoded.new_zeros(len(images), length, encoded.shape[-1]), keep, encoded)
        predicted = self.prediction_head(utils.get_at_index(self.decoder(tokens, idx_mask=masked), masked))
        # patches are counted without the class token
        return self.criterion(predicted, utils.get_at_index(utils.patchify(images, self.patch_size), masked - 1))


def _simclr_views(side: int, *, strength: float) -> SimCLRTransform:
    return SimCLRTransform(input_size=side, cj_strength=strength, gaussian_blur=0.0)


def _byol_views(side: int) -> BYOLTransform:
    return BYOLTransform(
        view_1_transform=BYOLView1Transform(input_size=side, gaussian_blur=0.0),
        view_2_transform=BYOLView2Transform(input_size=side, gaussian_blur=0.0),
    )


def _swav_views(side: int) -> SwaVTransform:
    # the benchmark does not give crop_max_scales; version 1.6 then fails, because the default is for two kinds of crops
    one_kind = {"crop_sizes": [side], "crop_counts": [2], "crop_min_scales": [0.14], "crop_max_scales": [1.0]}
    return SwaVTransform(**one_kind, cj_strength=0.5, gaussian_blur=0)


def _dino_views(side: int) -> DINOTransform:
    return DINOTransform(global_crop_size=side, n_local_views=0, cj_strength=0.5, gaussian_blur=(0, 0, 0))


_PLAIN_SGD = partial(torch.optim.SGD, lr=0.06)
_SGD = partial(torch.optim.SGD, lr=0.06, momentum=0.9, weight_decay=5e-4)
_ADAM = partial(torch.optim.Adam, lr=1e-3)
RECIPES = {
    ("simclr", "example"): Recipe("example", SimCLR, 256, _PLAIN_SGD, partial(_simclr_views, strength=1.0)),
    ("byol", "example"): Recipe("example", BYOL, 256, _PLAIN_SGD, _byol_views),
    ("barlow_twins", "example"): Recipe("example", BarlowTwins, 256, _PLAIN_SGD, _byol_views),
    ("swav", "example"): Recipe("example", SwaV, 128, _ADAM, _swav_views),
    ("dino", "example"): Recipe("example", DINO, 64, _ADAM, _dino_views),
    ("mae", "example"): Recipe("example", MAE, 256, partial(torch.optim.AdamW, lr=1.5e-4), MAETransform),
    ("simclr", "cifar10"): Recipe("cifar10", SimCLR, 128, _SGD, partial(_simclr_views, strength=0.5)),
    ("byol", "cifar10"): Recipe("cifar10", BYOL, 128, _SGD, _byol_views),
    ("barlow_twins", "cifar10"): Recipe("cifar10", BarlowTwins, 128, _SGD, _byol_views),
    ("swav", "cifar10"): Recipe("cifar10", SwaV, 128, partial(_ADAM, weight_decay=1e-6), _swav_views),
    ("dino", "cifar10"): Recipe("cifar10", DINO, 128, _SGD, _dino_views),
}


def batches(folder: Path, recipe: Recipe, side: int, *, workers: int) -> Iterator[list[Tensor]]:
    """Yield batches of views from lightly's data set, transforms and loader over a folder of images, without end."""
    dataset = LightlyDataset(input_dir=str(folder), transform=recipe.transform(side))
    loader = DataLoader(dataset, batch_size=recipe.batch_size, shuffle=True, drop_last=True, num_workers=workers)
    while True:
        for views, _, _ in loader:
            yield views
