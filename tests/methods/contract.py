"""The duties of every method, as plain functions: the contract suite and the planted faults both call them."""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from selfstudy.methods.base import Method, StepOutput
from selfstudy.nn.ema import EMA
from selfstudy.ops.schedules import Progress
from selfstudy.views.presets import changed
from selfstudy.views.spec import Draws, Labels, Tokens, one_each

START, TOTAL, BATCH = 50, 100, 6
Make = Callable[[], Method]


def views_for(method: type[Method], *, size=(16, 24), channels=3, batch=BATCH, seed=0, views="auto") -> list[Tensor]:
    """Random views, tokens, draws and labels, as the method asks for them."""
    size, channels = ((1, 12), 1) if method.reads.modality == "text" else (size, channels)
    generator = torch.Generator().manual_seed(seed)

    def tensor(spec):
        if isinstance(spec, Draws):
            return torch.rand(batch, spec.count, generator=generator)
        if isinstance(spec, Labels):
            return torch.arange(batch) % 3
        if isinstance(spec, Tokens):
            return torch.randint(5, 30, (batch, spec.length), generator=generator)  # 5 ends a document
        return torch.randn(batch, channels, *spec.size, generator=generator)

    specs = changed(method.default_views(size, channels), views, any_count=getattr(method.reads, "any_count", False))
    return [tensor(spec) for spec in one_each(specs)]


def forward(method: Method, views: list[Tensor]) -> StepOutput:
    torch.manual_seed(0)
    return method(views, Progress(START, TOTAL))


def optimizer_step(method: Method, views: list[Tensor], optimizer: torch.optim.Optimizer, micro: int = 1) -> float:
    """One step as the training loop takes it, the batch cut into micro-batches."""
    total = 0.0
    for part in zip(*(view.chunk(micro) for view in views), strict=True):
        output = forward(method, list(part))
        (output.loss / micro).backward()
        total += float(output.loss.detach()) / micro
    method.before_step(Progress(START, TOTAL))
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    method.after_step(Progress(START, TOTAL))
    return total


def sgd(method: Method) -> torch.optim.Optimizer:
    return torch.optim.SGD([p for p in method.parameters() if p.requires_grad], lr=0.05, momentum=0.9)


def teachers(method: Method) -> list[EMA]:
    """Every moving average of a method."""
    return [module for module in method.modules() if isinstance(module, EMA)]


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def loss_is_a_finite_scalar(make: Make) -> None:
    method = make()
    output = forward(method, views_for(type(method)))
    assert output.loss.shape == () and output.loss.dtype == torch.float32 and torch.isfinite(output.loss)
    assert all(value.ndim == 0 and not value.requires_grad for value in output.metrics.values())
    assert output.embedding is None or (output.embedding.shape[0] == BATCH and not output.embedding.requires_grad)


def every_trainable_parameter_gets_a_gradient(make: Make) -> None:
    method = make()
    forward(method, views_for(type(method))).loss.backward()
    for name, parameter in method.named_parameters():
        has = parameter.grad is not None and bool(parameter.grad.abs().sum() > 0)
        assert has == parameter.requires_grad, name


def evaluation_changes_no_state(make: Make) -> None:
    method = make().eval()
    before = copy.deepcopy(method.state_dict())
    with torch.no_grad():
        forward(method, views_for(type(method)))
    assert same(before, method.state_dict())


def teacher_starts_as_the_student(make: Make) -> None:
    method = make()
    students = {tuple(p.shape for p in m.parameters()): m for m in _candidates(method)}
    for teacher in teachers(method):
        student = students[tuple(p.shape for p in teacher.module.parameters())]
        for mine, theirs in zip(teacher.module.parameters(), student.parameters(), strict=True):
            assert torch.equal(mine, theirs)


def _candidates(method: Method) -> list[nn.Module]:
    """The networks that a teacher may copy: those of the method one after the other, outside any teacher."""
    children = [child for child in method.children() if not isinstance(child, EMA) and list(child.parameters())]
    return [nn.Sequential(*children[: n + 1]) for n in range(len(children))] + children


def teacher_moves_only_after_the_step_and_toward_the_student(make: Make) -> None:
    method = make()
    if not teachers(method):
        return
    views, optimizer = views_for(type(method)), sgd(method)
    teacher = teachers(method)[0]
    begin = [p.clone() for p in teacher.module.parameters()]
    forward(method, views).loss.backward()
    optimizer.step()
    forward(method, views)
    assert all(torch.equal(a, b) for a, b in zip(begin, teacher.module.parameters(), strict=True)), "moved in forward"
    students = {tuple(p.shape for p in m.parameters()): m for m in _candidates(method)}
    student = [p.detach() for p in students[tuple(p.shape for p in begin)].parameters()]
    distance = [float((a - s).norm()) for a, s in zip(begin, student, strict=True)]
    method.after_step(Progress(START, TOTAL))
    now = [float((t - s).norm()) for t, s in zip(teacher.module.parameters(), student, strict=True)]
    assert sum(now) < sum(distance), "the teacher did not move toward the student"


def resuming_is_exact(make: Make) -> None:
    straight = make()
    optimizer = sgd(straight)
    batches = [views_for(type(straight), seed=seed) for seed in range(4)]
    for views in batches[:2]:
        optimizer_step(straight, views, optimizer)
    saved, moved = copy.deepcopy(straight.state_dict()), copy.deepcopy(optimizer.state_dict())
    for views in batches[2:]:
        optimizer_step(straight, views, optimizer)
    torch.manual_seed(123)
    resumed = make()
    again = sgd(resumed)
    resumed.load_state_dict(saved)
    again.load_state_dict(moved)
    for views in batches[2:]:
        optimizer_step(resumed, views, again)
    assert same(straight.state_dict(), resumed.state_dict())


def same_seed_same_run(make: Make) -> None:
    results = []
    for _ in range(2):
        torch.manual_seed(7)
        method = make()
        optimizer = sgd(method)
        results.append([optimizer_step(method, views_for(type(method), seed=s), optimizer) for s in range(2)])
    assert results[0] == results[1]


def permuting_the_batch_permutes_the_embedding(make: Make) -> None:
    method = make().eval()
    views = views_for(type(method))
    order = torch.randperm(BATCH, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        plain, permuted = forward(method, views), forward(method, [view[order] for view in views])
    torch.testing.assert_close(permuted.embedding, plain.embedding[order], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(permuted.loss, plain.loss, atol=1e-5, rtol=1e-4)


def finite_under_bf16(make: Make) -> None:
    method = make()
    with torch.autocast("cpu", torch.bfloat16):
        output = forward(method, views_for(type(method)))
    output.loss.backward()
    assert output.loss.dtype == torch.float32 and torch.isfinite(output.loss)
    assert all(torch.isfinite(p.grad).all() for p in method.parameters() if p.grad is not None)


def config_survives_yaml(make: Make) -> None:
    import yaml

    config = make().config
    assert type(config)(**yaml.safe_load(yaml.safe_dump(config.model_dump(mode="json")))) == config


def prototype_scores_are_one_row_per_image(make: Make) -> None:
    method = make().eval()
    images = views_for(type(method))[0]
    with torch.no_grad():
        embedding = method.representation()[1](images)
        scores, backwards = method.prototype_scores(embedding), method.prototype_scores(embedding.flip(0))
    assert (scores is None) == (backwards is None)
    if scores is not None and backwards is not None:
        assert scores.ndim == 2 and len(scores) == BATCH and torch.isfinite(scores).all()
        torch.testing.assert_close(backwards, scores.flip(0))


CHECKS = [
    loss_is_a_finite_scalar,
    every_trainable_parameter_gets_a_gradient,
    evaluation_changes_no_state,
    teacher_starts_as_the_student,
    teacher_moves_only_after_the_step_and_toward_the_student,
    resuming_is_exact,
    same_seed_same_run,
    permuting_the_batch_permutes_the_embedding,
    finite_under_bf16,
    config_survives_yaml,
    prototype_scores_are_one_row_per_image,
]
