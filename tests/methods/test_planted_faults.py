"""Known-bad methods, each rejected by the check that exists for its fault."""

import pytest
import torch
from torch import nn

from selfstudy.methods.base import Method, MethodConfig, StepOutput
from selfstudy.nn.ema import EMA
from selfstudy.nn.queue import Queue
from selfstudy.ops.contrastive import info_nce
from selfstudy.views.spec import View
from tests.methods import contract
from tests.methods.small_encoders import ConvNet


class Good(Method):
    """A small MoCo that passes; each fault below changes one thing."""

    class Config(MethodConfig):
        pass

    def __init__(self):
        super().__init__(ConvNet())
        self.config = self.Config()
        self.projector = nn.Linear(16, 8)
        self.teacher = EMA(nn.Sequential(self.encoder, self.projector), train_mode=True)
        self.queue = Queue(8, 10)

    @staticmethod
    def default_views(size, channels=3):
        return [View(size, count=2)]

    def forward(self, views, progress):
        embedding = self.encoder(views[0])
        keys = self.teacher(views[1])
        loss = info_nce(self.projector(embedding), keys, self.queue.items, 0.2)
        if self.training:
            self.queue.push(nn.functional.normalize(keys, dim=1))
        return StepOutput(loss, {}, embedding.detach())

    def after_step(self, progress):
        self.teacher.move_toward(nn.Sequential(self.encoder, self.projector), 0.9)


class TeacherBuiltAnew(Good):
    def __init__(self):
        super().__init__()
        self.teacher = EMA(nn.Sequential(ConvNet(), nn.Linear(16, 8)), train_mode=True)


class QueueOutsideTheState(Good):
    def __init__(self):
        super().__init__()
        items = self.queue.items
        del self.queue._buffers["items"]
        self.queue.register_buffer("items", items, persistent=False)


class TeacherMovesInForward(Good):
    def forward(self, views, progress):
        self.teacher.move_toward(nn.Sequential(self.encoder, self.projector), 0.5)
        return super().forward(views, progress)


class TeacherNeverMoves(Good):
    def after_step(self, progress):
        pass


class PushesInEvaluation(Good):
    def forward(self, views, progress):
        output = super().forward(views, progress)
        self.queue.push(torch.ones(3, 8))
        return output


class UnusedHead(Good):
    def __init__(self):
        super().__init__()
        self.forgotten = nn.Linear(4, 4)


class DrawsWithoutASeed(Good):
    def forward(self, views, progress):
        noise = torch.randn(views[0].shape, generator=_UNSEEDED)
        return super().forward([views[0] + noise, views[1]], progress)


_UNSEEDED = torch.Generator().manual_seed(0)


class SumsInHalfPrecision(Good):
    def forward(self, views, progress):
        output = super().forward(views, progress)
        return output._replace(loss=output.loss.to(torch.bfloat16))


class AttachedEmbedding(Good):
    def forward(self, views, progress):
        return super().forward(views, progress)._replace(embedding=self.encoder(views[0]))


class DependsOnTheOrder(Good):
    def forward(self, views, progress):
        return super().forward([views[0], views[1].cumsum(0)], progress)


class ScoresTheBatch(Good):
    def prototype_scores(self, embedding):
        return embedding.cumsum(0)


def test_the_sound_method_passes_everything():
    for check in contract.CHECKS:
        torch.manual_seed(0)
        check(Good)


@pytest.mark.parametrize(
    ("fault", "check"),
    [
        (TeacherBuiltAnew, contract.teacher_starts_as_the_student),
        (QueueOutsideTheState, contract.resuming_is_exact),
        (TeacherMovesInForward, contract.teacher_moves_only_after_the_step_and_toward_the_student),
        (TeacherNeverMoves, contract.teacher_moves_only_after_the_step_and_toward_the_student),
        (PushesInEvaluation, contract.evaluation_changes_no_state),
        (UnusedHead, contract.every_trainable_parameter_gets_a_gradient),
        (DrawsWithoutASeed, contract.same_seed_same_run),
        (SumsInHalfPrecision, contract.loss_is_a_finite_scalar),
        (AttachedEmbedding, contract.loss_is_a_finite_scalar),
        (DependsOnTheOrder, contract.permuting_the_batch_permutes_the_embedding),
        (ScoresTheBatch, contract.prototype_scores_are_one_row_per_image),
    ],
)
def test_a_planted_fault_is_caught(fault, check):
    torch.manual_seed(0)
    with pytest.raises(AssertionError):
        check(fault)
