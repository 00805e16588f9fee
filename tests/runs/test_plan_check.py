"""A plan is made again only while nothing is lost by it, and only once."""

import pytest
import torch

from selfstudy.ops.schedules import Progress
from selfstudy.runs.plan_check import PlanChanged, PlanCheck
from selfstudy.train.monitor import Observation


def _observation(step, seconds, total=1000):
    rest = {"metrics": {}, "embedding": None, "views": [], "encoder": torch.nn.Identity(), "inputs": 8}
    return Observation(
        progress=Progress(step, total), loss=1.0, wait_seconds=0.0, seconds=seconds, remaining_seconds=1.0, **rest
    )


def _check(folder, seconds, *, answer="other", total=1000):
    """The seconds that the check asked about, and what it raised, for steps of these seconds, planned for 1 second."""
    asked, raised = [], None

    def again(mean):
        asked.append(mean)
        return answer

    check = PlanCheck(1.0, again, folder)
    try:
        for step, each in enumerate(seconds):
            check(_observation(step + 1, each, total))
    except PlanChanged as change:
        raised = change.resolved
    return asked, raised


def test_steps_that_take_much_longer_begin_the_run_again_with_another_plan(tmp_path):
    asked, raised = _check(tmp_path, [9.0, 9.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0])
    assert (asked, raised) == ([2.0], "other")


@pytest.mark.parametrize("seconds", [[1.4] * 20, [9.0] + [1.0] * 20])
def test_steps_about_as_long_as_planned_keep_the_plan(tmp_path, seconds):
    assert _check(tmp_path, seconds) == ([], None)


def test_a_plan_that_stays_the_best_is_asked_for_once(tmp_path):
    assert _check(tmp_path, [2.0] * 20, answer=None) == ([2.0], None)


def test_after_a_tenth_of_the_run_the_plan_is_kept(tmp_path):
    assert _check(tmp_path, [2.0] * 20, total=50) == ([], None)


def test_after_the_first_checkpoint_the_plan_is_kept(tmp_path):
    (tmp_path / "step-00000001").mkdir()
    assert _check(tmp_path, [2.0] * 20) == ([], None)
