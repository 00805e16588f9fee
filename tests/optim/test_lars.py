import math

import pytest
import torch
from torch import nn

from selfstudy.optim.groups import parameter_groups
from selfstudy.optim.lars import LARS
from selfstudy.optim.optimizer import build_optimizer


def _parameter(*values):
    return nn.Parameter(torch.tensor(values, dtype=torch.float64))


def _step(optimizer, parameter, *gradient):
    parameter.grad = torch.tensor(gradient, dtype=torch.float64)
    optimizer.step()


def test_two_steps_solved_by_hand():
    w = _parameter(3.0, 4.0)
    optimizer = LARS([w], lr=2.0, momentum=0.5, weight_decay=0.0, trust=0.1)
    # |w| = 5, |g| = 10, rate = 0.1 * 5 / 10 = 0.05, v = 2 * 0.05 * (6, 8) = (0.6, 0.8)
    _step(optimizer, w, 6.0, 8.0)
    torch.testing.assert_close(w.detach(), torch.tensor([2.4, 3.2], dtype=torch.float64))
    # |w| = 4, |g| = 2, rate = 0.2, v = 0.5 * (0.6, 0.8) + 2 * 0.2 * (2, 0) = (1.1, 0.4)
    _step(optimizer, w, 2.0, 0.0)
    torch.testing.assert_close(w.detach(), torch.tensor([1.3, 2.8], dtype=torch.float64))


def test_decay_is_part_of_the_update_whose_norm_is_taken():
    w = _parameter(3.0, 4.0)
    optimizer = LARS([w], lr=1.0, momentum=0.0, weight_decay=1.0, trust=0.1)
    # g + w = (3, 4) + (3, 4) = (6, 8), rate = 0.1 * 5 / 10, step = (0.3, 0.4)
    _step(optimizer, w, 3.0, 4.0)
    torch.testing.assert_close(w.detach(), torch.tensor([2.7, 3.6], dtype=torch.float64))


def test_the_learning_rate_of_a_step_stays_in_its_momentum():
    w = _parameter(1.0)
    optimizer = LARS([{"params": [w], "decay": False}], lr=1.0, momentum=0.5)
    _step(optimizer, w, 0.25)  # v = 0.25, w = 0.75
    optimizer.param_groups[0]["lr"] = 0.0
    _step(optimizer, w, 9.0)  # v = 0.125 although the rate is now 0
    assert w.item() == 0.625


def test_a_group_without_decay_takes_plain_momentum_steps():
    w, twin = _parameter(3.0, 4.0), _parameter(3.0, 4.0)
    optimizer = LARS([{"params": [w], "decay": False}], lr=0.1, momentum=0.9, weight_decay=0.5)
    plain = torch.optim.SGD([twin], lr=0.1, momentum=0.9)
    for gradient in [(1.0, 2.0), (3.0, -1.0), (0.0, 0.5)]:
        _step(optimizer, w, *gradient)
        _step(plain, twin, *gradient)
    torch.testing.assert_close(w, twin)


@pytest.mark.parametrize(("weights", "gradient"), [((0.0, 0.0), (1.0, 2.0)), ((1.0, 2.0), (0.0, 0.0))])
def test_a_layer_with_a_zero_norm_takes_a_plain_step(weights, gradient):
    w = _parameter(*weights)
    _step(LARS([w], lr=0.5, momentum=0.0), w, *gradient)
    assert w.tolist() == [a - 0.5 * b for a, b in zip(weights, gradient, strict=True)]


def _slow_step(weights, gradients, velocities, group):
    """Algorithm 1 one number at a time, with SimCLR's norm of gradient and decay together."""
    for i, (w, g, v) in enumerate(zip(weights, gradients, velocities, strict=True)):
        update = [gj + group["weight_decay"] * wj for wj, gj in zip(w, g, strict=True)]
        norms = [math.sqrt(sum(x * x for x in values)) for values in (w, update)]
        rate = group["trust"] * norms[0] / norms[1] if all(norms) else 1.0
        velocities[i] = [group["momentum"] * vj + group["lr"] * rate * uj for vj, uj in zip(v, update, strict=True)]
        weights[i] = [wj - vj for wj, vj in zip(w, velocities[i], strict=True)]


def test_it_equals_a_slow_loop_over_ten_steps_with_a_moving_rate():
    torch.manual_seed(0)
    shapes = [(4, 3), (2, 3, 2, 2), (5, 1)]
    parameters = [nn.Parameter(torch.randn(shape, dtype=torch.float64)) for shape in shapes]
    optimizer = LARS(parameters, lr=1.0, momentum=0.9, weight_decay=0.01, trust=0.02)
    weights = [parameter.detach().flatten().tolist() for parameter in parameters]
    velocities = [[0.0] * len(values) for values in weights]
    for step in range(10):
        group = optimizer.param_groups[0]
        group["lr"] = 1.0 / (1 + step)
        for parameter in parameters:
            parameter.grad = torch.randn_like(parameter)
        _slow_step(weights, [p.grad.flatten().tolist() for p in parameters], velocities, group)
        optimizer.step()
    for parameter, expected in zip(parameters, weights, strict=True):
        torch.testing.assert_close(parameter.detach().flatten(), torch.tensor(expected, dtype=torch.float64))


def test_the_size_of_the_gradient_does_not_matter_to_an_adapted_layer():
    moved = []
    for scale in (1e-6, 1.0, 1e6):
        w = _parameter(1.0, -2.0, 3.0)
        _step(LARS([w], lr=1.0), w, *(scale * g for g in (0.5, 0.25, -1.0)))
        moved.append(w.detach().clone())
    torch.testing.assert_close(moved[0], moved[1])
    torch.testing.assert_close(moved[2], moved[1])


def test_gradients_are_left_as_they_are_and_absent_ones_skipped():
    w, unused = _parameter(1.0, 2.0), _parameter(5.0)
    optimizer = LARS([w, unused], lr=1.0, weight_decay=0.1)
    _step(optimizer, w, 3.0, 4.0)
    assert w.grad.tolist() == [3.0, 4.0] and unused.item() == 5.0 and unused not in optimizer.state


def test_a_closure_is_run_with_gradients_and_its_loss_returned():
    w = _parameter(2.0)
    optimizer = LARS([w], lr=0.1)

    def closure():
        loss = w.square().sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 4.0 and w.item() < 2.0


def test_biases_and_norms_of_a_network_are_neither_adapted_nor_decayed():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    before = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    optimizer = build_optimizer(parameter_groups(network), name="lars", lr=0.5, weight_decay=0.1)
    for parameter in network.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    for name, parameter in network.named_parameters():
        if name != "0.weight":
            torch.testing.assert_close(parameter, before[name] - 0.5, check_dtype=True, msg=name)
    moved = (network[0].weight - before["0.weight"]).norm()
    torch.testing.assert_close(moved, 0.5 * 0.001 * before["0.weight"].norm())
