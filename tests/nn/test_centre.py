"""The centre: when it moves, by what, and what it keeps."""

import torch

from selfstudy.nn.centre import Centre, centring
from tests.ops.test_sinkhorn import slow_sinkhorn


def test_outputs_are_returned_less_the_centre():
    centre = Centre(2)
    centre.value.copy_(torch.tensor([1.0, -1.0]))
    assert centre(torch.zeros(3, 2)).tolist() == [[-1.0, 1.0]] * 3


def test_it_moves_once_per_step_by_the_mean_over_all_rows_of_micro_batches_of_any_size():
    centre = Centre(1, momentum=0.9)
    for rows in (torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([[10.0]]), torch.zeros(0, 1)):
        centre(rows)
    assert float(centre.value) == 0
    centre.move()
    torch.testing.assert_close(centre.value, torch.tensor([0.1 * 16 / 4]))
    moved = centre.value.clone()
    centre.move()
    assert torch.equal(centre.value, moved)


def test_equation_4_by_hand_over_two_steps():
    centre = Centre(1, momentum=0.5)
    for value in (4.0, 8.0):
        centre(torch.full((2, 1), value))
        centre.move()
    torch.testing.assert_close(centre.value, torch.tensor([0.5 * (0.5 * 4) + 0.5 * 8]))


def test_what_is_centred_in_evaluation_does_not_move_it():
    centre = Centre(2).eval()
    centre(torch.ones(3, 2))
    centre.move()
    assert float(centre.value.abs().sum()) == 0


def test_its_value_is_all_of_its_state_and_has_no_gradient():
    centre = Centre(2)
    outputs = centre(torch.ones(3, 2, requires_grad=True))
    assert set(centre.state_dict()) == {"value"} and not outputs.requires_grad


def test_targets_are_centred_and_sharpened():
    centre = Centre(2)
    centre.value.copy_(torch.tensor([1.0, 0.0]))
    torch.testing.assert_close(
        centre.targets(torch.tensor([[1.0, 0.5]]), 0.5), torch.softmax(torch.tensor([[0.0, 1.0]]), dim=1)
    )


def test_equal_shares_are_sinkhorns_and_have_no_state():
    shares, outputs = centring("sinkhorn", 3), torch.randn(6, 3, dtype=torch.float64)
    torch.testing.assert_close(shares.targets(outputs, 0.5), slow_sinkhorn(outputs, 0.5, 3))
    shares.move()
    assert not shares.state_dict() and isinstance(centring("centre", 3), Centre)
